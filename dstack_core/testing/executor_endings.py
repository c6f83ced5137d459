"""How jobs end, alone and beside others: a part of the executor suite."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dstack_core.executor import Executor
from dstack_core.testing.contest import Contestant
from dstack_core.testing.executor_jobs import BEAT, Jobs
from dstack_core.testing.executor_runner import start_and_hang
from dstack_core.testing.waiting import until


class Endings:
    """Uses the suite's fixtures `jobs` and `open_executor`.

    Attributes:
        task: arguments that each `Task` of the suite needs, e.g. `{"image": "debian:12"}`.
        supports_daemons: whether `close` finds processes that left their session.
    """

    task: Mapping[str, Any] = {}
    supports_daemons = True

    def test_stop_asks(self, jobs: Jobs) -> None:
        """With SIGTERM, and the job may take its time."""
        job = jobs.start("trap 'echo saved > out; exit 9' TERM; touch ready; while :; do sleep 0.01; done", **self.task)
        until((job.root / "ready").exists, "the job was ready")
        job.execution.stop()
        assert job.ended() == 9
        assert (job.root / "out").read_text() == "saved\n"
        job.execution.stop()

    def test_close_ends_a_job_that_will_not(self, jobs: Jobs) -> None:
        """Without asking."""
        job = jobs.start(f"trap '' TERM; {BEAT.format(file='beat')}", **self.task)
        until((job.root / "beat").exists, "the job beat")
        job.execution.stop()
        assert job.execution.wait(0.1) is None
        job.execution.close()
        assert job.execution.wait(0) == 137
        self._is_still(job.root / "beat")

    def test_background_processes_end_with_the_job(self, jobs: Jobs) -> None:
        """`cmd &` does not keep the job, and does not outlive it."""
        script = f"({BEAT.format(file='beat')}) & while [ ! -e beat ]; do sleep 0.01; done; exit 5"
        job = jobs.start(script, **self.task)
        assert job.ended() == 5
        self._is_still(job.root / "beat")

    def test_daemons_end_with_the_job(self, jobs: Jobs) -> None:
        """Having left session, group and parent does not help them."""
        if not self.supports_daemons:
            pytest.skip("finds no daemons")
        beat = BEAT.format(file="beat")
        job = jobs.start(f"(setsid sh -c '{beat}' &) ; while [ ! -e beat ]; do sleep 0.01; done", **self.task)
        assert job.ended() == 0
        self._is_still(job.root / "beat")

    def test_jobs_do_not_end_each_other(self, jobs: Jobs) -> None:
        """Closing one leaves the others and what they started."""
        beat = f"({BEAT.format(file='beat')}) & wait"
        first, second = jobs.start(beat, **self.task), jobs.start(beat, **self.task)
        for job in (first, second):
            until((job.root / "beat").exists, "the job beat")
        first.execution.close()
        self._is_still(first.root / "beat")
        assert second.execution.wait(0) is None
        size = (second.root / "beat").stat().st_size
        until(lambda: (second.root / "beat").stat().st_size > size, "the other job beat on")

    def test_many_jobs_at_once(self, jobs: Jobs) -> None:
        """Started and ended by several threads."""
        codes: dict[int, int] = {}

        def one(n: int) -> None:
            codes[n] = jobs.run(f"sleep 0.05 & exit {n}", **self.task)[0]

        threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert codes == {n: n for n in range(12)}

    def test_sweep_ends_what_a_dead_runner_left(
        self, jobs: Jobs, open_executor: Callable[[], Executor], tmp_path: Path
    ) -> None:
        """Only that attempt, and found by its label alone."""
        other = jobs.start(BEAT.format(file="beat"), **self.task)
        root, script, label = tmp_path / "root", tmp_path / "script", uuid.uuid4().hex
        root.mkdir()
        (tmp_path / "scratch").mkdir()
        script.write_text(f"({BEAT.format(file='beat')}) & wait\n")
        runner = Contestant(start_and_hang, open_executor, label, tmp_path, script, self.task)
        runner.go()
        until((root / "beat").exists, "the job of the other runner beat")
        runner.kill()
        assert jobs.executor.sweep(label) >= 1
        self._is_still(root / "beat")
        assert jobs.executor.sweep(label) == 0
        assert jobs.executor.sweep(label[:-1]) == 0
        assert other.execution.wait(0) is None

    def _is_still(self, beat: Path) -> None:
        """Whether the loop that wrote `beat` has ended: five times its beat passes without one."""
        size = beat.stat().st_size
        with pytest.raises(pytest.fail.Exception):
            until(lambda: beat.stat().st_size != size, "a beat of what should have ended", 0.1)
