"""Runs: names, ends that happen once, and an index that never tells a lie for long."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger import names
from dstack_core._ledger import runs as ledger
from dstack_core._ledger.documents import DamagedError
from dstack_core._ledger.keys import segment
from dstack_core._ledger.machines import gone, intend, launched, machine_key, machines, register
from dstack_core._ledger.records import JobRecord, RunRecord
from dstack_core.errors import ConflictError, NotFoundError, StoreError
from dstack_core.models import Offer

REPO = "ann/digits"


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


def draft(repo=REPO, submitted=1000.0):
    return RunRecord("", repo, "ann", "train", "0" * 64, submitted, "local")


def active(store, repo=REPO, damaged=ledger.ignore):
    return sorted(document.value.name for document in ledger.active_runs(store, repo, damaged))


def finished(store, repo=REPO):
    return [run.name for run in ledger.finished_runs(store, repo)]


@pytest.fixture
def few_names(monkeypatch):
    """So few that everybody wants the same one."""
    monkeypatch.setattr(names, "ADJECTIVES", ["odd"])
    monkeypatch.setattr(names, "ANIMALS", ["cat"])


@pytest.mark.usefixtures("few_names")
def test_threads_never_share_a_name(store):
    made = []
    start = threading.Barrier(16)

    def create():
        start.wait()
        made.append(ledger.create_run(store, draft()).value.name)

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 16
    assert active(store) == sorted(made)


def _create(path, start, made):
    names.ADJECTIVES[:] = ["odd"]
    names.ANIMALS[:] = ["cat"]
    store = FolderStore({"path": path})
    start.wait()
    made.put([ledger.create_run(store, draft()).value.name for _ in range(3)])


def test_processes_never_share_a_name(store):
    spawn = multiprocessing.get_context("spawn")
    start, made = spawn.Barrier(8), spawn.Queue()
    processes = [spawn.Process(target=_create, args=(store.location, start, made)) for _ in range(8)]
    for process in processes:
        process.start()
    all_names = [name for _ in processes for name in made.get()]
    for process in processes:
        process.join()
    assert len(set(all_names)) == 24


@pytest.mark.usefixtures("few_names")
def test_the_name_of_a_removed_run_is_never_given_again(store):
    first = ledger.create_run(store, draft()).value.name
    ledger.finish_run(store, first, "done", 0, 1001.0)
    ledger.remove_run(store, first)
    assert [ledger.create_run(store, draft()).value.name for _ in range(3)].count(first) == 0
    assert ledger.is_removed(store, first)
    assert not ledger.is_removed(store, "odd-dog-1")
    with pytest.raises(NotFoundError, match="removed"):
        ledger.read_run(store, first)


def test_a_run_ends_once(store):
    name = ledger.create_run(store, draft()).value.name
    mine = []
    start = threading.Barrier(16)

    def finish(n):
        start.wait()
        mine.append(ledger.finish_run(store, name, "done" if n % 2 else "failed", n, 2000.0 + n))

    threads = [threading.Thread(target=finish, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(was for _, was in mine) == 1
    assert len({(run.status, run.exit_code, run.finished) for run, _ in mine}) == 1
    assert (active(store), finished(store)) == ([], [name])
    assert len(list(store.list("index/"))) == 1


def test_an_end_is_never_taken_back(store):
    name = ledger.create_run(store, draft()).value.name
    ledger.finish_run(store, name, "failed", 3, 2000.0)
    assert ledger.ask_to_end(store, name, "stop").desired is None
    run, mine = ledger.finish_run(store, name, "done", 0, 3000.0)
    assert (run.status, run.exit_code, run.finished, mine) == ("failed", 3, 2000.0, False)


def test_an_abort_overrules_a_stop_and_not_the_other_way_round(store):
    name = ledger.create_run(store, draft()).value.name
    wishes = [ledger.ask_to_end(store, name, wish).desired for wish in ("stop", "abort", "stop")]
    assert wishes == ["stop", "abort", "abort"]


def test_killed_after_the_end_was_recorded(store, monkeypatch):
    name = ledger.create_run(store, draft()).value.name

    class Killed(BaseException):
        pass

    def killed(store, run):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "file_finished", killed)
        with pytest.raises(Killed):
            ledger.finish_run(store, name, "done", 0, 2000.0)
    assert finished(store) == []
    assert active(store) == []  # looking repairs
    assert finished(store) == [name]
    assert list(store.list("index/active/")) == []


class DiesOnWrite(FolderStore):
    """Killed at the write of the run's record, after its index entry."""

    def write(self, key, data, expect="*any*"):
        if key.startswith("runs/"):
            raise KeyboardInterrupt
        return super().write(key, data, expect)


def test_killed_before_the_run_was_recorded(store, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ledger.create_run(DiesOnWrite({"path": str(tmp_path / "store")}), draft())
    damage = []
    assert active(store, damaged=damage.append) == []
    assert damage == []


def test_the_entry_of_a_run_that_was_never_recorded_is_removed_after_a_while(store, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        ledger.create_run(DiesOnWrite({"path": str(tmp_path / "store")}), draft())
    (entry,) = store.list("index/active/")
    store.write(f"index/active/{segment(REPO)}/odd-cat-1", b"\xb2 not a time")
    assert active(store) == []
    assert [info.key for info in store.list("index/active/")] == [entry.key]  # it may be a moment old
    later = time.time() + ledger.UNBORN + 5
    monkeypatch.setattr(ledger.time, "time", lambda: later)
    assert active(store) == []
    assert list(store.list("index/active/")) == []


@pytest.mark.usefixtures("few_names")
def test_who_did_not_get_a_name_has_nothing_to_do_with_the_run_that_did(store, tmp_path):
    """Killed between entry and record, or a lost race for the name; then another repository gets it."""
    with pytest.raises(KeyboardInterrupt):
        ledger.create_run(DiesOnWrite({"path": str(tmp_path / "store")}), draft("me/x"))
    name = ledger.create_run(store, draft("you/y")).value.name
    assert f"index/active/{segment('me/x')}/{name}" in [info.key for info in store.list("index/active/")]
    assert active(store, "me/x") == []
    assert active(store, "you/y") == [name]
    assert active(store, None) == [name]
    ledger.finish_run(store, name, "done", 0, 2000.0)
    assert list(store.list("index/active/")) == []


def test_whoever_files_a_run_late_does_not_bring_it_back(store):
    from dataclasses import replace

    from dstack_core._ledger import documents

    name = ledger.create_run(store, draft()).value.name
    ended = documents.update(
        store, RunRecord, ledger.run_key(name), lambda run: replace(run, status="done", finished=2000.0)
    ).value
    assert active(store) == []  # somebody else files it
    ledger.remove_run(store, name)
    ledger.file_finished(store, ended)
    assert finished(store) == []
    assert list(store.list("index/")) == []


def test_killed_while_removing(store, monkeypatch):
    """After any of its changes: the next listing goes on with it. Before the first, nothing was begun."""
    listed = []
    for survived in range(20):
        name = ledger.create_run(store, draft()).value.name
        ledger.finish_run(store, name, "done", 0, 1.0)
        store.write(ledger.job_key(name, "a"), b"{}")
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            dying(patch, store, survived)
            ledger.remove_run(store, name)
        listed.append([run.name for run in ledger.finished_runs(store)])
        assert listed[-1] in ([], [name])
        ledger.remove_run(store, name)
        assert list(store.list("index/")) == []
        assert [info.key for info in store.list(f"runs/{name}/")] == [ledger.run_key(name)]
    assert [len(names) for names in listed] == [1] + 19 * [0]


class Killed(BaseException):
    pass


def dying(patch, store, survived):
    """The process dies when it begins the change to the store after so many."""
    left = [survived]

    def mortal(change):
        def call(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return change(*arguments)

        return call

    for name in ("write", "delete"):
        patch.setattr(store, name, mortal(getattr(store, name)))


def test_a_removal_of_what_is_not_there_leaves_nothing(store):
    with pytest.raises(NotFoundError):
        ledger.remove_run(store, "x-1")
    store.write("index/removing/rubbish", b"\xff")
    assert list(ledger.finished_runs(store)) == []
    assert list(store.list("index/")) == []


def test_repositories_do_not_mix(store):
    mine = ledger.create_run(store, draft("a/b")).value.name
    theirs = ledger.create_run(store, draft("a/b-c")).value.name
    assert (active(store, "a/b"), active(store, "a/b-c")) == ([mine], [theirs])
    assert active(store, None) == sorted([mine, theirs])
    assert active(store, "a") == []


def test_finished_runs_newest_first_over_all_repositories(store):
    made = []
    for n, repo in enumerate(["a/b", "a/b!", "z", "a/b", "A"]):
        name = ledger.create_run(store, draft(repo)).value.name
        ledger.finish_run(store, name, "done", 0, 1000.0 + n / 1000)
        made.append(name)
    assert finished(store, None) == made[::-1]
    assert finished(store, "a/b") == [made[3], made[0]]
    assert len(ledger.finished_repos(store)) == 4


def test_names_from_the_index_alone(store):
    runs = [ledger.create_run(store, draft()).value.name for _ in range(4)]
    for n, name in enumerate(runs[:3]):
        ledger.finish_run(store, name, "done", 0, 1000.0 + n)
    assert list(ledger.run_names(store, REPO, 2)) == [runs[3], runs[2], runs[1]]


def test_damaged_records_are_told_and_passed_over(store):
    good, bad = (ledger.create_run(store, draft()).value.name for _ in range(2))
    store.write(ledger.run_key(bad), b"garbage")
    store.write(f"index/finished/{segment(REPO)}/0-x", b"garbage")
    damage = []
    assert active(store, damaged=damage.append) == [good]
    assert [run.name for run in ledger.finished_runs(store, REPO, damage.append)] == []
    assert [type(error) for error in damage] == [DamagedError, DamagedError]


def test_a_plan_is_what_was_written_or_an_error(store):
    digest = ledger.write_plan(store, b"plan")
    assert ledger.write_plan(store, b"plan") == digest
    assert ledger.read_plan(store, digest) == b"plan"
    store.write(f"plans/{digest}", b"pram")
    with pytest.raises(StoreError, match="damaged"):
        ledger.read_plan(store, digest)


def test_of_two_who_claim_a_job_one_loses(store):
    first = ledger.write_job(store, None, JobRecord("x-1", "a;b", "downloading"))
    with pytest.raises(ConflictError):
        ledger.write_job(store, None, JobRecord("x-1", "a;b", "downloading"))
    ledger.write_job(store, first, JobRecord("x-1", "a;b", "running"))
    with pytest.raises(ConflictError):
        ledger.write_job(store, first, JobRecord("x-1", "a;b", "uploading"))
    assert ledger.read_job(store, "x-1", "a;b").value.status == "running"
    assert ledger.read_job(store, "x-1", "a,b") is None


def test_the_machine_of_a_removed_run_has_nothing_to_record(store):
    name = ledger.create_run(store, draft()).value.name
    machine = intend(store, name, Offer("local", "local", 1, 1), 0, time.time()).value
    ledger.finish_run(store, name, "done", 0, 2000.0)
    ledger.remove_run(store, name)
    launched(store, name, machine.id, "handle")
    gone(store, name, machine.id, 5.0)
    with pytest.raises(ConflictError, match="removed"):
        register(store, name, machine.id)
    assert list(machines(store, name)) == []


def test_a_machine_that_was_given_up_cannot_register(store):
    machine = intend(store, "x-1", Offer("local", "local", 1, 1), 0, time.time()).value
    assert register(store, "x-1", machine.id).status == "up"
    assert register(store, "x-1", machine.id).status == "up"
    gone(store, "x-1", machine.id, 5.0)
    gone(store, "x-1", machine.id, 9.0)
    with pytest.raises(ConflictError, match="given up"):
        register(store, "x-1", machine.id)
    assert [m.value.ended for m in machines(store, "x-1")] == [5.0]
    intend(store, "x-10", Offer("local", "local", 1, 1), 0, time.time())
    assert [m.key for m in machines(store, "x-1")] == [machine_key("x-1", machine.id)]
