"""`dstack stop` and `dstack rm`: exact names, repetition, and runs whose machine is no more."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from dstack_core._cli.context import Context
from dstack_core._ledger.machines import gone, intend, machines
from dstack_core._ledger.records import Attempt, JobRecord, TagRecord
from dstack_core._ledger.runs import job_key, log_prefix, read_run, run_key, write_job
from dstack_core._ledger.tags import read_tag, write_tag
from dstack_core.errors import NotFoundError
from dstack_core.models import Artifact, Offer

from .conftest import REPO, Counting, planned


def status(scene, run):
    return read_run(scene.store, run).value.status


def test_a_run_that_waits_is_stopped(scene, dstack):
    scene.run("x-1", planned("data"), planned("train", "data"))
    result = dstack("stop", "x-1", "-y")
    assert (result.code, result.out) == (0, "x-1: stopped\n")
    assert status(scene, "x-1") == "stopped"


def test_names_are_exact(scene, dstack):
    for name in ("x-1", "x-10", "x-100"):
        scene.run(name)
    dstack("stop", "x-1", "-y")
    assert [status(scene, name) for name in ("x-1", "x-10", "x-100")] == ["stopped", "submitted", "submitted"]
    assert dstack("rm", "x-1", "-y").code == 0
    assert [status(scene, name) for name in ("x-10", "x-100")] == ["submitted", "submitted"]
    assert dstack("stop", "x-", "-y").code == 66


def test_abort(scene, dstack):
    scene.run("x-1")
    assert dstack("stop", "-x", "x-1", "-y").out == "x-1: aborted\n"
    assert read_run(scene.store, "x-1").value.desired == "abort"


def test_stopping_twice_and_stopping_what_is_finished(scene, dstack):
    scene.run("x-1")
    dstack("stop", "x-1", "x-1", "-y")
    again = dstack("stop", "x-1", "-y")
    assert (again.code, again.out) == (0, "x-1 is finished already: stopped\n")
    scene.finished("x-2")
    assert dstack("stop", "x-2").out == "x-2 is finished already: done\n"
    assert status(scene, "x-2") == "done"


def test_a_run_whose_machine_is_gone_is_finished_by_the_command(scene, dstack):
    scene.run("x-1")
    machine = next(iter(machines(scene.store, "x-1"))).value.id
    scene.job("x-1", "train", "running", Attempt(1, machine, time.time(), "running"))
    gone(scene.store, "x-1", machine, time.time())
    result = dstack("stop", "x-1", "-y")
    assert (result.code, result.out) == (0, "x-1: stopped\n")
    assert [a["status"] for a in dstack("ps", "x-1", "--json").json["jobs"][0]["attempts"]] == ["interrupted"]


def test_no_wait_returns_while_a_job_still_runs(scene, dstack):
    scene.run("x-1")
    machine = next(iter(machines(scene.store, "x-1"))).value.id
    scene.job("x-1", "train", "running", Attempt(1, machine, time.time(), "running"))
    result = dstack("stop", "x-1", "-y", "--no-wait")
    assert (result.code, result.out) == (0, "x-1: stopping, 1 job to end\n")
    assert read_run(scene.store, "x-1").value.desired == "stop"


def test_while_it_waits_only_what_changed_is_read(scene, dstack, store, monkeypatch):
    """A run of 10,000 jobs has a plan of megabytes."""
    scene.run("x-1")
    machine = next(iter(machines(scene.store, "x-1"))).value.id
    attempt = Attempt(1, machine, time.time(), "running")
    job = write_job(store, None, JobRecord("x-1", "train", "running", (attempt,)))
    read = []

    class EndsLater(Counting):
        def read(self, key, start=0, length=None):
            read.append(key.partition("/")[0])
            return super().read(key, start, length)

        def list(self, prefix, after=""):
            if self.lists == 8:
                write_job(self.inner, job, replace(job.value, status="stopped"))
            return super().list(prefix, after)

    monkeypatch.setattr(Context, "store", EndsLater(store))
    assert "x-1: stopped\n" in dstack("stop", "x-1", "-y").out
    assert read.count("plans") == 1


def test_all_of_the_repository(scene, dstack):
    for name in ("x-1", "x-10"):
        scene.run(name)
    scene.run("theirs-1", repo="bob/words")
    assert dstack("stop", "-a", "-y").code == 0
    assert [status(scene, name) for name in ("x-1", "x-10", "theirs-1")] == ["stopped", "stopped", "submitted"]
    assert dstack("stop", "-a", "-y").out == "No run is active.\n"


def test_without_a_terminal_it_must_be_told_yes(scene, dstack):
    scene.run("x-1")
    result = dstack("stop", "x-1")
    assert result.code == 2
    assert "add -y" in result.err
    assert status(scene, "x-1") == "submitted"


@pytest.mark.parametrize("command", ["stop", "rm"])
def test_names_or_all(dstack, command):
    assert dstack(command, "-y").code == 2
    assert dstack(command, "-a", "x-1", "-y").code == 2


def test_an_unknown_run_keeps_the_others_from_being_stopped(scene, dstack):
    scene.run("calm-cat-1")
    result = dstack("stop", "calm-cat-1", "calm-cat-11", "-y")
    assert result.code == 66
    assert "did you mean calm-cat-1?" in result.err
    assert status(scene, "calm-cat-1") == "submitted"


def test_one_that_cannot_be_ended_does_not_keep_others_from_it(scene, dstack):
    plan = f"plans/{scene.run('x-1').plan}"
    scene.run("x-2", planned("other"))
    scene.store.write(plan, b"garbage")
    result = dstack("stop", "x-1", "x-2", "-y")
    assert result.code == 74
    assert plan in result.err
    assert status(scene, "x-2") == "stopped"


@pytest.mark.parametrize("command", [("stop", "-x"), ("rm",)])
def test_a_run_with_a_damaged_job_can_be_got_rid_of(scene, dstack, command):
    scene.run("x-1")
    machine = next(iter(machines(scene.store, "x-1"))).value.id
    gone(scene.store, "x-1", machine, time.time())
    scene.store.write(job_key("x-1", "train"), b"garbage")
    result = dstack(*command, "x-1", "-y")
    assert (result.code, result.out) == (0, "x-1: failed\n" if command[0] == "stop" else "x-1: removed\n")


def test_removed_runs_are_gone_from_everywhere_but_their_name(scene, dstack):
    plan = f"plans/{scene.finished('x-1').plan}"
    intend(scene.store, "x-1", Offer("local", "local", 1, 1), 0, 0.0)
    scene.job("x-1", "train", "done")
    scene.store.write(f"{log_prefix('x-1', 'train', 1)}/1", b"log")
    assert dstack("rm", "x-1", "-y").out == "x-1: removed\n"
    assert [i.key for i in scene.store.list("")] == [plan, run_key("x-1")]
    assert dstack("ps", "-a", "--json").json == []
    assert "was removed" in dstack("ps", "x-1").err
    with pytest.raises(NotFoundError, match="removed"):
        read_run(scene.store, "x-1")


def test_removing_goes_on_where_a_killed_one_left_it(scene, dstack):
    from dstack_core._ledger import documents
    from dstack_core._ledger.records import RunRecord

    scene.finished("x-1")
    documents.update(scene.store, RunRecord, run_key("x-1"), lambda run: replace(run, deleted=True))
    assert dstack("rm", "x-1", "-y").code == 0
    assert list(scene.store.list("index/")) == []


def test_an_active_run_is_not_removed_nor_are_others_with_it(scene, dstack):
    scene.run("x-1")
    scene.finished("x-2")
    result = dstack("rm", "x-2", "x-1", "-y")
    assert result.code == 73
    assert "dstack stop x-1" in result.err
    assert status(scene, "x-2") == "done"


def test_all_finished_ones(scene, dstack):
    scene.run("x-1")
    scene.finished("x-2")
    scene.finished("x-3", repo="bob/words")
    scene.run("x-4", status="failed", finished=time.time())  # finished, but not filed so
    result = dstack("rm", "-a", "-y")
    assert sorted(result.out.splitlines()) == ["x-2: removed", "x-4: removed"]
    assert [status(scene, name) for name in ("x-1", "x-3")] == ["submitted", "done"]


def test_a_tag_outlives_its_run(scene, dstack):
    scene.finished("x-1")
    model = Artifact("model", "1" * 64, 1, 10)
    write_tag(scene.store, TagRecord("best", REPO, "ann", 0.0, (model,), "x-1", "train"))
    dstack("rm", "x-1", "-y")
    assert read_tag(scene.store, REPO, "best").artifacts == (model,)
    assert "model" in dstack("ls", ":best").out
