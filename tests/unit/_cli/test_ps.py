"""`dstack ps`: which runs it shows, what it survives, what it costs."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._cli.context import Context
from dstack_core._ledger.keys import segment
from dstack_core._ledger.runs import job_key, read_run, run_key
from dstack_core._plan.job import Reused
from dstack_core.models import Artifact

from .conftest import REPO, Counting, planned


def names(result):
    return [row["run"] for row in result.json]


def test_active_runs_newest_first_and_no_finished_one(scene, dstack):
    scene.run("old-cat-1", submitted=time.time() - 100)
    scene.run("new-cat-1")
    scene.finished("done-cat-1")
    assert names(dstack("ps", "--json")) == ["new-cat-1", "old-cat-1"]


def test_the_last_finished_run_when_none_is_active(scene, dstack):
    scene.finished("first-cat-1", submitted=1000.0)
    scene.finished("last-cat-1", submitted=2000.0)
    assert names(dstack("ps", "--json")) == ["last-cat-1"]


def test_all_and_the_last_n(scene, dstack):
    for n in range(5):
        scene.finished(f"cat-{n}", submitted=1000.0 + 10 * n)
    scene.run("active-cat-1")
    assert names(dstack("ps", "-a", "--json")) == ["active-cat-1", "cat-4", "cat-3", "cat-2", "cat-1", "cat-0"]
    assert names(dstack("ps", "-n", "2", "--json")) == ["active-cat-1", "cat-4", "cat-3"]


def test_other_repositories_only_when_asked_for(scene, dstack):
    scene.finished("mine-cat-1", submitted=1000.0)
    scene.finished("theirs-cat-1", repo="bob/words", submitted=3000.0)
    scene.finished("mine-cat-2", submitted=5000.0)
    assert names(dstack("ps", "-a", "--json")) == ["mine-cat-2", "mine-cat-1"]
    result = dstack("ps", "-a", "--all-repos")
    assert [line.split()[0] for line in result.out.splitlines()] == ["RUN", "mine-cat-2", "theirs-cat-1", "mine-cat-1"]
    assert "bob/words" in result.out


def test_outside_a_project_all_repositories(scene, dstack, project):
    scene.finished("theirs-cat-1", repo="bob/words")
    (project / ".dstack").rmdir()
    assert names(dstack("ps", "--json")) == ["theirs-cat-1"]


def test_plain_columns_and_the_user_only_when_there_are_others(scene, dstack):
    scene.finished("quick-cat-1", submitted=time.time() - 7200, tag="best")
    result = dstack("ps")
    title, line = result.out.splitlines()
    assert title.split() == ["RUN", "WORKFLOW", "STATUS", "SUBMITTED", "DURATION", "TAG"]
    assert line.split() == ["quick-cat-1", "train", "done", "2", "h", "ago", "5.0", "s", "best"]
    assert "\x1b" not in result.out
    scene.finished("quick-cat-2", user="bob")
    assert "USER" in dstack("ps", "-a").out


def test_the_status_of_an_active_run_is_read_off_its_jobs(scene, dstack):
    from dstack_core._ledger.machines import machines
    from dstack_core._ledger.records import Attempt

    scene.run("busy-cat-1")
    machine = next(iter(machines(scene.store, "busy-cat-1"))).value.id
    scene.job("busy-cat-1", "train", "running", Attempt(1, machine, time.time(), "running"))
    assert dstack("ps", "--json").json[0]["status"] == "running"


def test_a_run_that_finished_without_being_filed_is_filed(scene, dstack):
    scene.run("crashed-cat-1", status="failed", finished=time.time(), exit_code=3)
    assert dstack("ps", "--json").json[0]["status"] == "failed"
    assert [i.key.rpartition("/")[2] for i in scene.store.list(f"index/active/{segment(REPO)}/")] == []


def test_a_run_whose_jobs_all_ended_gets_its_last_status(scene, dstack):
    scene.run("orphan-cat-1")
    scene.job("orphan-cat-1", "train", "done")
    assert dstack("ps", "--json").json[0]["status"] == "done"
    assert read_run(scene.store, "orphan-cat-1").value.status == "done"


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"name": 3}', b"\xff\x00", b'{"format": 1}'])
def test_a_damaged_record_is_a_warning(scene, dstack, garbage):
    scene.run("good-cat-1")
    scene.run("bad-cat-1")
    scene.store.write(run_key("bad-cat-1"), garbage)
    scene.finished("done-cat-1")
    key = next(iter(scene.store.list("index/finished/"))).key
    scene.store.write(key.replace("done-cat-1", "odd-cat-1"), garbage)
    result = dstack("ps", "-a", "--json")
    assert result.code == 0
    assert names(result) == ["good-cat-1", "done-cat-1"]
    assert result.err.count("warning: ") == 2
    assert run_key("bad-cat-1") in result.err


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(garbage=st.binary(max_size=60))
def test_no_bytes_in_any_kind_of_record_break_the_listing(scene, dstack, garbage):
    if not scene.store.exists(run_key("good-cat-1")):
        scene.run("good-cat-1")
        scene.run("bad-cat-1")
        scene.finished("done-cat-1")
    for key in (
        job_key("bad-cat-1", "train"),
        f"index/active/{segment(REPO)}/odd",
        f"index/finished/{segment(REPO)}/0-odd",
        run_key("odd"),
    ):
        scene.store.write(key, garbage)
    result = dstack("ps", "-a", "--json")
    assert result.code == 0
    assert {"good-cat-1", "bad-cat-1", "done-cat-1"} <= set(names(result))


def test_a_damaged_job_of_an_active_run_is_a_warning_and_others_are_shown(scene, dstack):
    scene.run("half-cat-1", planned("data"), planned("train", "data"))
    scene.store.write(job_key("half-cat-1", "data"), b"garbage")
    result = dstack("ps", "half-cat-1", "--json")
    assert result.code == 0
    assert [(job["job"], job["status"]) for job in result.json["jobs"]] == [
        ("data", "damaged"),
        ("train", "submitted"),
    ]
    assert "damaged" in result.err


def test_a_job_record_that_is_in_no_plan_is_passed_over(scene, dstack):
    scene.run("strange-cat-1")
    scene.job("strange-cat-1", "unheard-of", "running")
    result = dstack("ps", "--json")
    assert names(result) == ["strange-cat-1"]
    assert result.err == ""


def test_records_of_a_newer_dstack_are_shown(scene, dstack):
    import json

    scene.finished("future-cat-1")
    key = next(iter(scene.store.list("index/finished/"))).key
    plain = json.loads(scene.store.read(key).data)
    scene.store.write(key, json.dumps({**plain, "format": 9, "colour": "red"}).encode())
    assert names(dstack("ps", "--json")) == ["future-cat-1"]


def test_a_missing_backend_is_a_warning(scene, dstack, monkeypatch):
    from dstack_core._engine.remote import Remote

    scene.run("lonely-cat-1")
    original = Context.__init__

    def init(self, plugins):
        original(self, plugins)
        self.remote = Remote("local", "nowhere", "local", "process")

    monkeypatch.setattr(Context, "__init__", init)
    result = dstack("ps", "--json")
    assert (result.code, names(result)) == (0, ["lonely-cat-1"])
    assert "nowhere" in result.err
    assert result.err.startswith("warning: lonely-cat-1: ")


def test_unknown_runs_get_close_matches(scene, dstack):
    scene.finished("grumpy-zebra-1")
    result = dstack("ps", "grumpy-zebra-2")
    assert result.code == 66
    assert "there is no run grumpy-zebra-2; did you mean grumpy-zebra-1?" in result.err


def test_jobs_of_a_run(scene, dstack):
    from dstack_core._ledger.records import Attempt

    data = Artifact("data", "1" * 64, 3, 1000)
    reused = planned(
        "data", decision="reuse", reason="same code", reused=Reused("old-cat-1", "data", "ann", 0, 0, (data,))
    )
    scene.finished("grumpy-zebra-1", reused, planned("train", "data"), status="failed", exit_code=3)
    scene.job(
        "grumpy-zebra-1",
        "train",
        "failed",
        Attempt(1, "m1", 100.0, "interrupted", 110.0, None, reason="its machine was lost"),
        Attempt(2, "m2", 120.0, "failed", 190.0, 3),
        reason="exit code 3",
        artifacts=(Artifact("model", "2" * 64, 1, 10),),
    )
    out = dstack("ps", "grumpy-zebra-1").out.splitlines()
    assert out[0].split()[:3] == ["RUN", "WORKFLOW", "STATUS"]
    assert out[3].split() == [
        "JOB",
        "STATUS",
        "ATTEMPT",
        "DURATION",
        "EXIT",
        "CODE",
        "ARTIFACTS",
        "REUSED",
        "FROM",
        "REASON",
    ]
    assert out[4].split() == ["data", "reused", "data", "old-cat-1/data", "same", "code"]
    assert out[5].split() == ["train", "failed", "2", "1", "min", "10", "s", "3", "model", "exit", "code", "3"]
    shown = dstack("ps", "grumpy-zebra-1", "--json").json
    assert shown["exit_code"] == 3
    assert [a["status"] for a in shown["jobs"][1]["attempts"]] == ["interrupted", "failed"]


@pytest.mark.parametrize("name", ["a;b", "a,b", "модель ☃", "x" * 200, "../../etc", "a\nb", "\x1b[31mred"])
def test_names_of_workflows_are_data(scene, dstack, name):
    scene.run("odd-cat-1", planned(name))
    scene.job("odd-cat-1", name, "done", reason=name)
    result = dstack("ps", "--json")
    assert result.json[0]["workflow"] == name
    plain = dstack("ps", "odd-cat-1")
    assert plain.code == 0
    assert "\x1b" not in plain.out
    assert len(plain.out.splitlines()) == 5
    assert dstack("ps", "odd-cat-1", "--json").json["jobs"][0]["job"] == name


def test_the_cost_does_not_grow_with_finished_runs(scene, dstack, monkeypatch):
    for n in range(3):
        scene.finished(f"cat-{n}", submitted=1000.0 + n)
    counting = Counting(scene.store)
    monkeypatch.setattr(Context, "store", counting)
    dstack("ps", "-n", "2", "--json")
    few = counting.reads, counting.lists, counting.listed
    for n in range(3, 1003):
        scene.finished(f"cat-{n}", submitted=1000.0 + n)
    counting.reads = counting.lists = counting.listed = 0
    result = dstack("ps", "-n", "2", "--json")
    assert names(result) == ["cat-1002", "cat-1001"]
    assert (counting.reads, counting.lists, counting.listed) == few
