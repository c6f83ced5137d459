"""What an attempt does about the store's troubles."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dstack_core._ledger.records import RunRecord
from dstack_core._ledger.runs import create_run
from dstack_core._ledger.traces import Watched
from dstack_core._plan.job import PlannedJob, RunPlan
from dstack_core._runner.attempt import JobAttempt, _EndedEarly
from dstack_core.errors import StoreError
from dstack_core.models import JobSpec


@pytest.fixture
def store(tmp_path):
    from dstack_local.store import FolderStore

    return FolderStore({"path": str(tmp_path / "store")})


def attempt(store, run):
    job = PlannedJob("work", "work", "repo", "bash", JobSpec(("true",)), "w")
    plan = RunPlan("repo", "work", "0" * 64, (job,), {"w": Watched("tree", "")})
    return JobAttempt(SimpleNamespace(store=store, run=run, plan=plan), job, None, None, {})


@pytest.mark.parametrize("desired", [None, "stop"])
def test_a_store_that_fails_before_the_commands_start_fails_no_job(store, monkeypatch, desired):
    run = create_run(store, RunRecord("", "repo", "me", "work", "plan", 0.0, "local", desired=desired)).value
    if desired:
        with pytest.raises(_EndedEarly):
            attempt(store, run)._heed_now()

    def fail(key):
        raise StoreError("the store is down")

    monkeypatch.setattr(store, "read", fail)
    attempt(store, run)._heed_now()
