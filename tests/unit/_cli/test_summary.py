"""What a run came to."""

from __future__ import annotations

from dataclasses import replace

from dstack_core._cli.summary import MOST, cells, gained, took, where
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import Attempt
from dstack_core._plan.job import Reused
from dstack_core.models import Artifact
from tests.unit._cli.conftest import planned


def attempt(
    number: int = 1, status: str = "done", began: float = 100.0, ended: float = 110.0, **phases: float
) -> Attempt:
    return Attempt(number, "m", began, status, ended, phases=phases)


def test_phases_of_all_attempts_are_added(scene):
    scene.run("cat-1", planned("train"))
    tries = (attempt(1, "failed", prepare=1, run=2), attempt(2, began=120, ended=130, prepare=1, run=3, save=4))
    scene.job("cat-1", "train", "done", *tries)
    jobs, more = took(RunView(scene.store, "cat-1"))
    assert cells(jobs) == [
        ("job", "status", "prepare", "run", "save", "in all"),
        ("train", "done", "2.0 s", "5.0 s", "4.0 s", "30 s"),
    ]
    assert more == 0


def test_of_many_jobs_those_that_failed_and_the_longest_are_listed(scene):
    names = [f"j{n}" for n in range(100)]
    scene.run("cat-1", *map(planned, names))
    for n, name in enumerate(names):
        status = "failed" if n == 3 else "done"
        scene.job("cat-1", name, status, attempt(status=status, ended=100.0 + n))
    jobs, more = took(RunView(scene.store, "cat-1"))
    assert [job.job for job in jobs] == ["j3", *names[-(MOST - 1) :]]
    assert more == 100 - MOST


def test_what_reuse_saved(scene):
    data = Artifact("data", "1" * 64, 3, 1000)
    reused = planned("data", decision="reuse", reused=Reused("old-cat-1", "data", "ann", 0, 100.0, (data,)))
    scene.run("cat-1", reused, planned("later"), planned("train"))
    assert gained(RunView(scene.store, "cat-1")) == ", reused 1 job, saved 1 min 40 s"
    scene.job("cat-1", "later", "reused", saved=92.0)
    assert gained(RunView(scene.store, "cat-1")) == ", reused 2 jobs, saved 3 min 12 s"
    scene.run("cat-2", planned("train"))
    assert gained(RunView(scene.store, "cat-2")) == ""


def test_where_the_artifacts_are(scene):
    scene.run("cat-1", replace(planned("train"), target=True))
    assert where(RunView(scene.store, "cat-1")) is None
    scene.job("cat-1", "train", "done", attempt(), artifacts=(Artifact("model", "1" * 64),))
    assert where(RunView(scene.store, "cat-1")) == "dstack ls cat-1"
