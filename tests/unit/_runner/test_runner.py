"""The runner's own thread and those of its attempts, in the orders that seldom happen."""

from __future__ import annotations

import threading
import time

import pytest
from dstack_local.process import ProcessExecutor
from dstack_local.store import FolderStore

from dstack_core._content.saving import save_tree
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import intend, register
from dstack_core._ledger.records import RunRecord
from dstack_core._ledger.runs import ask_to_end, create_run, read_job, write_plan
from dstack_core._ledger.traces import Watched
from dstack_core._plan.job import PlannedJob, RunPlan
from dstack_core._runner.host import Host
from dstack_core._runner.runner import Runner
from dstack_core.codec import dumps
from dstack_core.models import JobSpec, Offer, Retry
from dstack_core.testing.waiting import until

BY = 30.0
"""Seconds by which everything here has happened, on a machine that is very busy."""


class Quiet:
    def run_started(self, event):
        """Nobody wants to know."""

    job_changed = run_finished = run_started


class Slow(FolderStore):
    """A store in which the first listing of jobs that shows a running one comes when that job has ended."""

    def __init__(self, folder, gate) -> None:
        super().__init__({"path": str(folder)})
        self._gate = gate
        self.late = False

    def list(self, prefix, after=""):
        found = list(super().list(prefix, after))
        if prefix.endswith("/jobs/") and found and not self.late:
            self.late = True
            self._gate.touch()
            run = prefix.split("/")[1]
            deadline = time.monotonic() + BY
            while read_job(self, run, "work").value.status != "submitted" and time.monotonic() < deadline:
                time.sleep(0.001)
        return iter(found)


@pytest.fixture
def make_runner(tmp_path, monkeypatch):
    """Makes the runner of a run with one job, in a store; gives it and the run's name."""
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DSTACK_MACHINE", "here")

    def make(store, spec) -> tuple[Runner, str]:
        (tmp_path / "code").mkdir()
        snapshot = save_tree(store, tmp_path / "code").digest
        job = PlannedJob("work", "work", "me/x", "bash", spec, "w", target=True, ad_hoc=True)
        plan = write_plan(store, dumps(RunPlan("me/x", "work", snapshot, (job,), {"w": Watched("tree", "")})))
        run = create_run(store, RunRecord("", "me/x", "me", "work", plan, time.time(), "local")).value
        offer = Offer("local", "here", 4.0, 1 << 33)
        machine = register(store, run.name, intend(store, run.name, offer, 0, time.time()).value.id)
        view = RunView(store, run.name)
        executor = ProcessExecutor({})
        host = Host(
            store=store, run=view.run, plan=view.plan, machine=machine, executor=lambda name: executor,
            secret=str, work=tmp_path / "work", observers=Quiet(), desired=lambda: runner.desired(),
        )  # fmt: skip
        runner = Runner(host, view)
        return runner, run.name

    return make


def test_an_end_that_is_read_before_it_is_told_starts_one_next_attempt(tmp_path, make_runner):
    store = Slow(tmp_path / "store", tmp_path / "listed")
    wait = f"until [ -e {tmp_path}/listed ]; do sleep 0.01; done"
    spec = JobSpec(
        ("bash", "-e"), f"{wait}\ntest ${{{{ job.attempt }}}} = 2\n", retry=Retry(attempts=3, on=("failed",))
    )
    runner, run = make_runner(store, spec)
    thread = threading.Thread(target=runner.run)
    thread.start()
    thread.join(2 * BY)
    assert not thread.is_alive()
    assert store.late
    attempts = read_job(store, run, "work").value.attempts
    assert [attempt.status for attempt in attempts] == ["failed", "done"]


class Noting(FolderStore):
    """A store that notes what is listed."""

    def __init__(self, folder) -> None:
        super().__init__({"path": str(folder)})
        self.listed: list[str] = []

    def list(self, prefix, after=""):
        self.listed.append(prefix)
        return super().list(prefix, after)


@pytest.mark.parametrize("alone", [True, False])
def test_who_works_alone_looks_at_the_run_but_not_at_its_jobs(tmp_path, make_runner, alone):
    """So it sees a wish to stop, whatever else there is to see; with others, it looks at jobs, too."""
    store = Noting(tmp_path / "store")
    began = f"touch {tmp_path}/began"
    runner, run = make_runner(store, JobSpec(("bash", "-e"), f"{began}\nsleep 1000\n"))
    runner.alone, runner.look = (lambda: alone), 0.01
    seen = []

    def stop_when_looked_at() -> None:
        until((tmp_path / "began").exists, "the job to begin", BY)
        before = store.listed.count(f"runs/{run}/jobs/")
        looked = len(reads)
        until(lambda: len(reads) > looked + 3, "some looks", BY)
        seen.append(store.listed.count(f"runs/{run}/jobs/") - before)
        ask_to_end(store, run, "abort")

    reads = []
    refresh = runner._view.refresh
    runner._view.refresh = lambda **how: (reads.append(how), refresh(**how))[1]
    helper = threading.Thread(target=stop_when_looked_at)
    helper.start()
    runner.run()
    helper.join()
    assert read_job(store, run, "work").value.status == "aborted"
    assert (seen == [0]) == alone
