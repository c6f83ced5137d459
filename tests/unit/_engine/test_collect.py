"""Freeing space loses nothing: whatever a run or a tag that is kept refers to can be restored, at every moment of every
interleaving of savers, commands and gc, any of which may be killed."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import pytest
from dstack_local.store import FolderStore
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dstack_core._content.snapshot import scan_snapshot, store_snapshot
from dstack_core._content.tree import check_tree, save_tree
from dstack_core._engine import collect as collecting
from dstack_core._engine.collect import collect, find_garbage
from dstack_core._ledger import documents, lease, marks, traces
from dstack_core._ledger.marks import saving
from dstack_core._ledger.records import JobRecord, RunRecord, TagRecord
from dstack_core._ledger.runs import (
    create_run,
    file_finished,
    finish_run,
    job_key,
    read_plan,
    remove_run,
    write_job,
    write_plan,
)
from dstack_core._ledger.tags import read_tag, write_tag
from dstack_core._ledger.traces import Trace, Watched
from dstack_core.errors import ConflictError, DstackError, NotFoundError, StoreError
from dstack_core.models import Artifact

from .interleaving import Processes, Stepped, stand

REPO = "ann/digits"
# Inline in the manifest, an object of its own, a pack, and one that shares with others what is in it.
TREES = [
    {"small": b"1"},
    {"one": b"a" * 5000},
    {f"f{n}": b"%d" % n * 5000 for n in range(4)},
    {"one": b"a" * 5000, "f0": b"0" * 5000, "large": b"z" * 300_000},
]


TREE = st.integers(0, len(TREES) - 1)
BEFORE = st.tuples(TREE, TREE, st.booleans(), st.booleans())


class Scene:
    """A store, and what people and runners do with it."""

    def __init__(self, store, folder: Path) -> None:
        self.store = store
        self.folders = []
        for number, files in enumerate(TREES):
            self.folders.append(folder / f"tree{number}")
            self.folders[-1].mkdir()
            for name, data in files.items():
                (self.folders[-1] / name).write_bytes(data)

    def save(self, number: int) -> Artifact:
        saved = save_tree(self.store, self.folders[number], cache=False)
        return Artifact("out", saved.digest, saved.files, saved.size)

    def submit(self, code: int) -> str:
        """As `dstack run` does."""
        with saving(self.store, "run"):
            snapshot = scan_snapshot(self.folders[code])
            store_snapshot(self.store, self.folders[code], snapshot)
            plan = write_plan(self.store, b'{"snapshot": "%s"}' % snapshot.digest.encode())
            draft = RunRecord("", REPO, "ann", "train", plan, time.time(), "local")
            return create_run(self.store, draft).value.name

    def run(self, code: int, number: int) -> str:
        """A run with one job, from its submission to its trace."""
        name = self.submit(code)
        with saving(self.store, "job", run=name, machine="0-m"):
            artifact = self.save(number)
            write_job(self.store, None, JobRecord(name, "train", "done", artifacts=(artifact,)))
        trace = Trace(REPO, "train", "0" * 64, {}, (), Watched("tree", "c"), "", (artifact,), name, "train", "ann", 1.0)
        traces.record(self.store, trace)
        finish_run(self.store, name, "done", 0, time.time())
        return name

    def reuse(self) -> None:
        """A run whose job takes over what another one left."""
        name = self.submit(0)
        found = traces.latest(self.store, REPO, "train")
        if found is not None:
            with saving(self.store, "reuse"):
                if all(self.store.exists(f"trees/{a.tree[:2]}/{a.tree}") for a in found.artifacts):
                    write_job(self.store, None, JobRecord(name, "train", "reused", artifacts=found.artifacts))
        finish_run(self.store, name, "done", 0, time.time())

    def tag(self, run: str | None, number: int) -> None:
        with saving(self.store, "tag"), contextlib.suppress(NotFoundError):
            if run is None:
                artifacts = (self.save(number),)
            else:
                artifacts = documents.read(self.store, JobRecord, job_key(run, "train")).value.artifacts
            write_tag(self.store, TagRecord("best", REPO, "ann", 0.0, artifacts), move=True)

    def collect(self) -> None:
        with contextlib.suppress(ConflictError):
            list(collect(self.store))


def check(store) -> None:
    """Everything that is kept is there."""
    for info in store.list("runs/"):
        _, name, rest = info.key.split("/", 2)
        if rest == "run.json":
            run = documents.read(store, RunRecord, info.key).value
            if run.deleted:
                continue
            snapshot = read_plan(store, run.plan).decode().split('"')[3]
            assert check_tree(store, snapshot) == [], f"the code of {name}"
            with contextlib.suppress(NotFoundError):
                for artifact in documents.read(store, JobRecord, job_key(name, "train")).value.artifacts:
                    assert check_tree(store, artifact.tree) == [], f"an artifact of {name}"
    with contextlib.suppress(NotFoundError):
        for artifact in read_tag(store, REPO, "best").artifacts:
            assert check_tree(store, artifact.tree) == [], "an artifact of a tag"


@contextlib.contextmanager
def processes(**others):
    """Actors instead of processes; `others` are stand-ins in `collect`."""
    made = Processes()
    stand_ins = [
        (marks, "this_process", made.this),
        (lease, "this_process", made.this),
        (marks, "is_gone", made.is_gone),
        (lease, "is_gone", made.is_gone),
        (lease, "end", made.end),
        (lease, "pause", stand),
        (collecting, "pause", stand),
        (collecting, "BATCH", 2),
        *((collecting, name, value) for name, value in others.items()),
    ]
    with contextlib.ExitStack() as stack:
        for module, name, stand_in in stand_ins:
            stack.enter_context(mock.patch.object(module, name, stand_in))
        yield made


class Interleavings(RuleBasedStateMachine):
    """`open_store`: makes the store in a folder."""

    open_store = staticmethod(lambda folder: FolderStore({"path": f"{folder}/store"}))

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=SHM)))
        self.stack.enter_context(mock.patch.dict(os.environ, {"DSTACK_HOME": str(folder / "home")}))
        self.store = self.open_store(folder)
        self.processes = self.stack.enter_context(processes())
        self.scene = Scene(Stepped(self.store), folder)

    @initialize(impatient=st.booleans(), before=st.lists(BEFORE, min_size=1, max_size=3))
    def begin(self, impatient: bool, before: list[tuple[int, int, bool, bool]]) -> None:
        """Runs that ended before, some of them removed: their content is garbage, and there to be relied on."""
        # Impatient: whoever finds the lease unchanged at a second look takes gc for stopped, and kills it.
        self.stack.enter_context(mock.patch.object(lease, "STALLED", -1.0 if impatient else 1e9))
        for code, number, tagged, removed in before:
            run = self.scene.run(code, number)
            if tagged:
                self.scene.tag(run, 0)
            if removed:
                remove_run(self.store, run)

    @rule(first=st.integers(0, 200), second=st.integers(0, 100), code=TREE, number=TREE, reuse=st.booleans())
    def start_two(self, first: int, second: int, code: int, number: int, reuse: bool) -> None:
        """gc comes so far, and somebody who saves so far, before anything else happens."""
        for act, steps in ((self.scene.collect, first), (self.scene.reuse if reuse else
                           lambda: self.scene.run(code, number), second)):  # fmt: skip
            self.processes.start(act)
            for _ in range(steps):
                self.processes.actors[-1].step()

    @rule(code=TREE, number=TREE)
    def start_run(self, code: int, number: int) -> None:
        self.processes.start(lambda: self.scene.run(code, number))

    @rule()
    def start_reuse(self) -> None:
        self.processes.start(self.scene.reuse)

    @rule(which=st.integers(0, 9), number=TREE, upload=st.booleans())
    def start_tag(self, which: int, number: int, upload: bool) -> None:
        run = None if upload else self.finished(which)
        self.processes.start(lambda: self.scene.tag(run, number))

    @rule()
    def start_untag(self) -> None:
        self.processes.start(lambda: self.scene.store.delete(f"tags/{REPO.replace('/', '%2F')}/best.json"))

    @rule(which=st.integers(0, 9))
    def start_rm(self, which: int) -> None:
        run = self.finished(which)
        if run is not None:
            self.processes.start(lambda: remove_run(self.scene.store, run))

    @rule()
    def start_gc(self) -> None:
        self.processes.start(self.scene.collect)

    @rule(turns=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), min_size=1, max_size=8))
    def go_on(self, turns: list[tuple[int, int]]) -> None:
        for who, steps in turns:
            living = [actor for actor in self.processes.actors if not actor.over]
            for _ in range(steps if living else 0):
                living[who % len(living)].step()

    @rule(who=st.integers(0, 9))
    def finish_one(self, who: int) -> None:
        living = [actor for actor in self.processes.actors if not actor.over]
        for _ in range(400 if living else 0):  # it may have to wait for another, and then never comes to its end
            living[who % len(living)].step()

    @rule(who=st.integers(0, 9))
    def kill(self, who: int) -> None:
        living = [actor for actor in self.processes.actors if not actor.over]
        if living:
            living[who % len(living)].kill()

    @invariant()
    def nothing_is_lost(self) -> None:
        check(self.store)

    def finished(self, which: int) -> str | None:
        names = [info.key.rpartition("/")[2].partition("-")[2] for info in self.store.list("index/finished/")]
        return names[which % len(names)] if names else None

    def teardown(self) -> None:
        with self.stack:
            self.processes.finish()
            check(self.store)
            errors = [actor.error for actor in self.processes.actors if actor.error is not None]
            # A gc that was taken for stopped says so. `rm` of one run by two is no error.
            assert [e for e in errors if not isinstance(e, (ConflictError, StoreError, NotFoundError))] == []
            list(collect(self.store))
            check(self.store)
            assert list(find_garbage(self.store)) == []
            assert list(self.store.list("saving/")) == []
            assert list(self.store.list("gc/")) == []


SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None  # nothing here is about power loss


def test_every_interleaving():
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


SAVERS = {
    "run": lambda scene: scene.run(1, 2),
    "reuse": lambda scene: scene.reuse(),
}


def standing(number: int, folder: Path, saver: str, stops: str, then: str) -> bool:
    """One of the two stands still before its access `number`, the other does all that it can; then the first goes on,
    unless it is killed.

    Everything that is saved is there as garbage before, to be relied on. False: it had ended before that access.
    """
    plain = FolderStore({"path": str(folder / "store")})
    scene = Scene(plain, folder)
    remove_run(plain, scene.run(1, 2))
    scene.store = Stepped(plain)
    stalled = -1.0 if then == "taken for stopped" else 1e9
    with processes(CLOSED=0.0, PATIENCE=0.0) as made, mock.patch.object(lease, "STALLED", stalled):
        acts = {"gc": scene.collect, "saver": lambda: SAVERS[saver](scene)}
        for who in sorted(acts, key=lambda name: name != stops):
            made.start(acts[who])
        first, second = made.actors
        for _ in range(number):
            first.step()
        came_so_far = not first.over
        if then == "killed":
            first.kill()
        for _ in range(500):  # it may have to wait for the first
            second.step()
        check(plain)
        made.finish()
        check(plain)
        list(collect(plain))
        check(plain)
    return came_so_far


@pytest.mark.parametrize("then", ["waited for", "taken for stopped", "killed"])
@pytest.mark.parametrize("stops", ["gc", "saver"])
@pytest.mark.parametrize("saver", list(SAVERS))
def test_one_stands_still_before_each_of_its_accesses(monkeypatch, saver, stops, then):
    number = 0
    while True:
        with tempfile.TemporaryDirectory(dir=SHM) as folder:
            monkeypatch.setenv("DSTACK_HOME", f"{folder}/home")
            if not standing(number, Path(folder), saver, stops, then):
                break
        number += 1
    assert number > 5


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    return Scene(FolderStore({"path": str(tmp_path / "store")}), tmp_path)


def kinds(found):
    return {kind: len(list(group)) for kind, group in itertools.groupby(one.kind for one in found)}


def test_what_is_removed_goes_and_nothing_else(scene):
    kept, gone = scene.run(0, 1), scene.run(1, 2)
    assert list(find_garbage(scene.store)) == []
    remove_run(scene.store, gone)
    assert [one.key for one in collect(scene.store) if one.kind == "trees"] != []
    check(scene.store)
    assert read_plan(scene.store, documents.read(scene.store, RunRecord, f"runs/{kept}/run.json").value.plan)
    assert documents.read(scene.store, RunRecord, f"runs/{gone}/run.json").value.deleted, "its name stays taken"
    assert list(collect(scene.store)) == []
    remove_run(scene.store, kept)
    list(collect(scene.store))
    assert {info.key.partition("/")[0] for info in scene.store.list("")} == {"runs"}


def test_order_and_kinds(scene):
    run = scene.run(1, 2)
    remove_run(scene.store, run)
    scene.store.write(f"runs/{run}/logs/train.1/00000001", b"left by an rm that was killed")
    assert list(kinds(find_garbage(scene.store))) == ["traces", "trees", "packs", "contents", "plans", "runs"]


def test_a_tag_keeps_what_its_run_made(scene):
    run = scene.run(0, 3)
    scene.tag(run, 0)
    remove_run(scene.store, run)
    list(collect(scene.store))
    check(scene.store)
    assert traces.latest(scene.store, REPO, "train") is not None, "and it can be reused"


def test_what_is_shared_stays(scene):
    one, two = scene.run(0, 2), scene.run(0, 3)
    remove_run(scene.store, one)
    list(collect(scene.store))
    check(scene.store)
    remove_run(scene.store, two)


@pytest.mark.parametrize("key", ["tags/x/bad.json", "runs/{run}/jobs/bad.json", "runs/bad-1/run.json"])
def test_nothing_is_freed_while_a_record_cannot_be_read(scene, key):
    run, gone = scene.run(0, 1), scene.run(1, 2)
    remove_run(scene.store, gone)
    scene.store.write(key.format(run=run), b'{"nam')
    for free in (find_garbage, collect):
        with pytest.raises(StoreError, match="bad") as error:
            list(free(scene.store))
        assert "dstack rm" in error.value.hint
    assert list(scene.store.list("gc/")) == []


def test_what_a_newer_dstack_refers_to_stays(scene):
    """Whatever it calls the field."""
    run = scene.run(0, 0)
    tree = scene.save(2).tree
    key = f"runs/{run}/run.json"
    data = scene.store.read(key).data
    scene.store.write(key, data.replace(b'"format":1', b'"format":2,"notebook":["%s"]' % tree.encode()))
    list(collect(scene.store))
    assert check_tree(scene.store, tree) == []


def test_another_gc_at_work_is_told(scene, monkeypatch):
    held = lease.HeldLease(scene.store)
    monkeypatch.setattr(lease, "pause", lambda seconds: held.beat())
    with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
        list(collect(scene.store))


def test_who_saves_for_long_is_named(scene):
    with (
        saving(scene.store, "train of big-whale-1"),
        mock.patch.object(collecting, "CLOSED", 0.1),
        pytest.raises(ConflictError, match="train of big-whale-1"),
    ):
        list(collect(scene.store, patience=0.2))
    assert list(scene.store.list("gc/")) == []
    assert list(scene.store.list("saving/")) == []


def test_a_gc_that_lost_its_lease_deletes_nothing_more(scene):
    remove_run(scene.store, scene.run(1, 2))
    with mock.patch.object(collecting, "BATCH", 1):
        going = collect(scene.store)
        next(going)
        left = len(list(scene.store.list("")))
        scene.store.delete(lease.KEY)
        with pytest.raises(StoreError, match="took this one for stopped"):
            list(going)
    assert len(list(scene.store.list(""))) == left - 1  # the lease itself


def test_marks_inside_marks_cost_nothing(scene):
    with saving(scene.store, "a"), saving(scene.store, "b"):
        assert len(list(scene.store.list("saving/"))) == 1
    assert list(scene.store.list("saving/")) == []


def test_a_store_that_cannot_be_marked_is_an_error_of_the_save(scene):
    full = mock.patch.object(scene.store, "write", side_effect=StoreError("full"))
    with full, pytest.raises(DstackError), saving(scene.store, "a"):
        raise AssertionError("not reached")


def test_an_unfinished_index_entry_of_a_removed_run_goes(scene):
    run = scene.run(0, 0)
    record = documents.read(scene.store, RunRecord, f"runs/{run}/run.json").value
    remove_run(scene.store, run)
    with mock.patch("dstack_core._ledger.runs.is_removed", return_value=False):
        file_finished(scene.store, record)
    list(collect(scene.store))
    assert list(scene.store.list("index/")) == []
