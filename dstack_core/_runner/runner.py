"""A runner: takes every ready job of its run that fits its machine, until there is none."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

from dstack_core._engine.capacity import Capacity, Share
from dstack_core._engine.demand import busy_cells, requirements
from dstack_core._engine.executors import label
from dstack_core._engine.outcome import INTERRUPTIONS, interrupted
from dstack_core._engine.settle import settle
from dstack_core._engine.view import RunView
from dstack_core._ledger.documents import Document
from dstack_core._ledger.records import CLAIMED, JobRecord
from dstack_core._ledger.runs import write_job
from dstack_core._plan.job import PlannedJob
from dstack_core._runner.attempt import JobAttempt
from dstack_core._runner.host import Host
from dstack_core._runner.state import LASTING
from dstack_core.errors import ConflictError, StoreError
from dstack_core.matching import satisfies
from dstack_core.models import JobEvent, RunEvent

LOOK: Final = 0.2
"""Seconds between looks at the run's record for a wish to stop, and at jobs that other runners do."""
CALM: Final = 10.0
"""The same between looks at jobs, when it works and there is no other runner: only commands write to them then."""
OUTAGE: Final = 30.0
"""Seconds for which a runner that has nothing else to do waits for a store that fails."""


class Runner:
    """One thread decides and hands out shares of the machine; each attempt has a thread of its own.

    Attributes:
        interrupted: set when the machine is to do nothing more.
        alone: whether the run has no other machine, as far as is known.
        elsewhere: told, again and again, that there is work for which this machine is not the right one.
        patience: seconds for which it waits for jobs while another machine of the run works; None: as long as any may
            come. The last machine stays: who else would see that a job is ready?
        look: seconds between looks at what others write.
    """

    def __init__(self, host: Host, view: RunView) -> None:
        self._host = host
        self._view = view
        self._capacity = Capacity(host.machine.offer)
        self._running: dict[str, Share] = {}
        self._news = threading.Condition()
        self._ended: list[tuple[str, Document[JobRecord] | None]] = []
        self._trouble: StoreError | None = None
        self._troubled: float | None = None
        self._remembering = 0
        self._threads: list[threading.Thread] = []
        self._crash: BaseException | None = None
        self._looked = self._looked_at_jobs = time.monotonic()
        self.interrupted = False
        self.alone: Callable[[], bool] = lambda: False
        self.elsewhere: Callable[[], None] | None = None
        self.patience: float | None = None
        self.look = LOOK
        self._busy = time.monotonic()

    def desired(self) -> str | None:
        """What is to become of running jobs; asked by their threads, many times a second."""
        return "interrupt" if self.interrupted else self._view.run.desired

    def run(self) -> None:
        """Return when the run is finished, or nothing is left that this machine could do."""
        self._recover()
        shutil.rmtree(self._host.work, ignore_errors=True)
        self._work()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._host.work, ignore_errors=True)

    def _work(self) -> None:
        while True:
            try:
                if self._step():
                    return
            except StoreError as error:
                self._endure(error)

    def _step(self) -> bool:
        """Do what can be done now, and wait a moment; whether nothing is left to do. Raises StoreError."""
        if self._view.damaged and not self._running:
            self._end_damaged()
        if self._view.progress.finished:
            self._await_traces()
        settle(self._view, self.tell)
        self._start_ready()
        if not self._running and (self.interrupted or self._view.finished or not self._has_future() or self._idles()):
            return True
        if time.monotonic() - self._looked > self.look:  # after what could be begun: a free machine waits for nothing
            self._look_around()
        else:
            self._wait(self.look)
        return False

    def _look_around(self) -> None:
        """Read what others wrote: what is wished, and, if anybody else is at work on the run, about its jobs."""
        now = time.monotonic()
        jobs = not (self._running and self.alone() and now - self._looked_at_jobs < CALM)
        self._view.refresh(jobs=jobs)
        self._looked = time.monotonic()
        if jobs:
            self._looked_at_jobs = self._looked

    def _endure(self, error: StoreError) -> None:
        """Wait a little for the store to recover. Raises `error` when nothing runs and it has lasted too long."""
        now = time.monotonic()
        if self._troubled is None:
            self._troubled = now
            print(f"dstack: {error}", file=sys.stderr, flush=True)  # noqa: T201  the machine's log
        if not self._running and now - self._troubled > (LASTING if error.lasting else OUTAGE):
            raise error
        time.sleep(LOOK)

    def _recover(self) -> None:
        """End what this machine claimed and does not work on: an earlier runner, or a failing store, left it so."""
        for document in list(self._view.jobs.values()):
            job = document.value
            if job.status in CLAIMED and job.machine == self._host.machine.id and job.job not in self._running:
                spec = self._view.plan.job(job.job).spec
                self._host.executor(spec.executor).sweep(label(self._host.machine.id, job.job, len(job.attempts)))
                again = interrupted(job, "its runner was killed", spec.retry)
                with contextlib.suppress(ConflictError):  # it has changed: the next refresh tells
                    self._view.note(write_job(self._host.store, document, again))

    def _end_damaged(self) -> None:
        """Jobs that a runner before this one may have left, and whose records do not tell. Others would wait for them
        as long as this machine is up."""
        machine = self._host.machine.id
        abandoned = self._view.abandoned(machine)
        for name in abandoned:
            executor = self._host.executor(self._view.plan.job(name).spec.executor)
            for number in range(1, INTERRUPTIONS + 1):  # which attempt it was nobody knows
                executor.sweep(label(machine, name, number))
        self._view.end_damaged(abandoned)

    def _start_ready(self) -> None:
        if self._view.run.desired or self.interrupted:
            return
        cells = busy_cells(self._view)
        for name in list(self._view.progress.ready):
            job = self._view.plan.job(name)
            if job.cell and job.cell.max_parallel and cells[job.cell.workflow] >= job.cell.max_parallel:
                continue
            if not self._may_start(job):
                continue
            share = self._capacity.take(job.spec.requirements)
            if share is None and job.spec.requirements.gpu:
                continue  # perhaps another run has the GPU, for hours
            if share is None:
                return  # first come, first served: a large job is not starved by small ones
            self._start(job, share)
            if job.cell and job.cell.max_parallel:
                cells[job.cell.workflow] += 1

    def _may_start(self, job: PlannedJob) -> bool:
        # A refresh may bring the end of an attempt before its thread has told of it: it still has its share.
        if job.name in self._running or self._is_early(job.name):
            return False
        if self._suits(job.name):
            return True
        if self.elsewhere:
            self.elsewhere()
        return False

    def _suits(self, name: str) -> bool:
        return satisfies(self._host.machine.offer, requirements(self._view, name))

    def _start(self, job: PlannedJob, share: Share) -> None:
        self._running[job.name] = share
        self._view.progress.set(job.name, "downloading")
        attempt = JobAttempt(self._host, job, self._view.jobs.get(job.name), share, self._view.done(job))
        thread = threading.Thread(target=self._attempt, args=(job.name, attempt), name=job.name)
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _attempt(self, name: str, attempt: JobAttempt) -> None:
        document = None
        try:
            document = attempt.run()
        except ConflictError:
            pass  # somebody else has it; the next refresh tells
        except StoreError as error:
            self._trouble = error
        except BaseException as error:
            self._crash = error
        with self._news:
            self._ended.append((name, document))
            self._remembering += 1
            self._news.notify()
        self._ignoring_errors(attempt.remember)
        with self._news:
            self._remembering -= 1
            self._news.notify()
        self._ignoring_errors(attempt.leave)

    def _ignoring_errors(self, act: Callable[[], None]) -> None:
        """The job is over and recorded; what can be lost is a chance to reuse it, or some disk space."""
        try:
            act()
        except Exception:
            traceback.print_exc()

    def _await_traces(self) -> None:
        """A run ends when what it made can be reused: whoever saw its end may start the same again at once."""
        with self._news:
            self._news.wait_for(lambda: self._remembering == 0)

    def _wait(self, timeout: float) -> None:
        """Until an attempt ends, or `timeout` seconds."""
        with self._news:
            if not self._ended:
                self._news.wait(timeout)
            ended, self._ended = self._ended, []
        if self._crash:
            raise self._crash
        for name, document in ended:
            self._capacity.give_back(self._running.pop(name))
            if document:
                self._view.note(document)
                self._troubled = None
            else:
                before = self._view.jobs.get(name)
                self._view.progress.set(name, before.value.status if before else "submitted")
        if ended or self._running:
            self._busy = time.monotonic()
        if any(document is None for _, document in ended):
            self._take_stock()

    def _take_stock(self) -> None:
        """After an attempt whose end is not known. Raises StoreError."""
        trouble, self._trouble = self._trouble, None
        self._view.refresh()
        self._recover()
        if trouble:
            raise trouble

    def _has_future(self) -> bool:
        """Whether this machine may yet get something to do in this run."""
        return any(map(self._suits, self._view.progress.waiting))

    def _idles(self) -> bool:
        """Whether it has waited for too long while others work; called when nothing runs here."""
        others = any(status in CLAIMED for status in self._view.progress.status.values())
        return self.patience is not None and time.monotonic() - self._busy > self.patience and others

    def _is_early(self, name: str) -> bool:
        document = self._view.jobs.get(name)
        return document is not None and document.value.not_before > time.time()

    def tell(self, event: JobEvent | RunEvent) -> None:
        """Observers hear of it."""
        if isinstance(event, JobEvent):
            self._host.observers.job_changed(event)
        else:
            self._host.observers.run_finished(event)
