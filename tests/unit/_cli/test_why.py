"""`dstack why`: what jobs were seen to read, whoever ran them, and what is said when that is not known."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from dstack_core._ledger import traces
from dstack_core._ledger.records import Attempt
from dstack_core._ledger.traces import Watched
from dstack_core._plan.job import Reused, RunPlan
from dstack_core._plan.trace import trace_of
from dstack_core.models import Artifact

from .conftest import REPO, planned

SEEN = Watched("paths", "", {"/": "1", "a.py": "f 1", "bad\x1bname": "f 1", "in//": "", "//a": "2"}, observed=True)
DATA = planned("data")
TRAIN = planned("train", "data")
MADE = (Artifact("data", "d" * 64),)


@pytest.fixture
def done(scene):
    """A finished run of both, and what they left behind."""

    def done(run, watched=SEEN):
        scene.finished(run, DATA, TRAIN)
        plan = RunPlan(REPO, "train", "0" * 64, (DATA, TRAIN))
        attempt = Attempt(1, "m", time.time(), "done", time.time())
        for job, artifacts in ((DATA, MADE), (TRAIN, ())):
            scene.job(run, job.name, "done", attempt, artifacts=artifacts)
            trace = trace_of(plan, job, job.inputs({"data": MADE}), artifacts, run=run, user="ann",
                             finished=time.time(), duration=1.0, watched=watched)  # fmt: skip
            traces.record(scene.store, trace)

    return done


def test_what_was_read(done, dstack):
    done("fat-cat-1")
    shown = dstack("why", "fat-cat-1").out.splitlines()
    assert shown[0].split() == ["JOB", "STATUS", "DEPENDS", "ON", "FILES", "FOUND", "IN"]
    assert shown[2].split() == ["train", "done", "observed", "2", "fat-cat-1/train"]
    assert [line.split() for line in shown[-4:]] == [
        ["train", "content", "a.py"], ["train", "content", "bad\\x1bname"], ["train", "names", "."],
        ["train", "all", "in", "it", "in"],
    ]  # fmt: skip


def test_one_job_as_json(done, dstack):
    done("fat-cat-1")
    found = dstack("why", "fat-cat-1", "train", "--json").json
    assert [row["job"] for row in found["jobs"]] == ["train"]
    assert found["jobs"][0]["files"] == ["a.py", "bad\x1bname"]


@pytest.mark.parametrize("reason", ["same as fat-cat-1", "newest result, fat-cat-1"])
def test_of_a_reused_job_it_is_what_the_other_read(done, scene, dstack, reason):
    """`--reuse latest` asks no key: then only the other run knows it."""
    done("fat-cat-1")
    reused = Reused("fat-cat-1", "train", "ann", 0.0, 0.0)
    sources = () if reason.startswith("newest") else TRAIN.sources
    scene.finished("thin-cat-1", DATA, replace(TRAIN, decision="reuse", reused=reused, reason=reason, sources=sources))
    scene.job("thin-cat-1", "data", "done", artifacts=MADE)
    row = dstack("why", "thin-cat-1", "train", "--json").json["jobs"][0]
    assert (row["status"], row["found_in"], len(row["files"])) == ("reused", "fat-cat-1/train", 2)


def test_all_of_the_code_and_why(done, dstack):
    done("fat-cat-1", Watched("tree", "c", hindrance="no access times"))
    row = dstack("why", "fat-cat-1", "data", "--json").json["jobs"][0]
    assert (row["depends_on"], row["reason"]) == ("all", "no access times")
    assert "no access times" in dstack("why", "fat-cat-1").out


def test_what_is_not_known(done, scene, dstack):
    scene.finished("sad-cat-1", DATA, TRAIN, status="failed")
    scene.job("sad-cat-1", "data", "done", artifacts=MADE)
    scene.job("sad-cat-1", "train", "failed")
    reasons = [row["reason"] for row in dstack("why", "sad-cat-1", "--json").json["jobs"]]
    assert reasons == ["its trace is no longer stored", "only a job that succeeded tells"]


def test_names_that_do_not_exist(done, dstack):
    done("fat-cat-1")
    missing = dstack("why", "fat-cat-1", "trai")
    assert (missing.code, "did you mean train?" in missing.err) == (66, True)
    assert dstack("why", "fat-cat-2").code == 66
