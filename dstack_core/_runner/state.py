"""A claimed job's record, and the changes that its runner makes to it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Any, Final

from dstack_core._ledger import documents
from dstack_core._ledger.documents import DamagedError, Document
from dstack_core._ledger.records import Attempt, JobRecord
from dstack_core._ledger.runs import read_job, write_job
from dstack_core._runner.host import Host
from dstack_core.errors import ConflictError, StoreError
from dstack_core.models import JobEvent

PATIENCE: Final = 60.0
"""Seconds for which a job's end is tried to be recorded while the store fails."""

LASTING: Final = 5.0
"""The same for a failure that will hardly pass by itself: a full disk may be full because of another job."""


class JobState:
    """Holds the record as last written. Every method raises ConflictError when the job is no longer this runner's:
    somebody took this machine for dead. The attempt must then end without another word.
    """

    def __init__(self, host: Host, job: str, before: Document[JobRecord] | None) -> None:
        self._host = host
        self._document = before
        self._job = before.value if before else JobRecord(host.run.name, job, "submitted")

    @property
    def record(self) -> JobRecord:
        """As last written."""
        return self._job

    @property
    def document(self) -> Document[JobRecord]:
        """As last written, with its version. Only after `claim`."""
        assert self._document is not None
        return self._document

    @property
    def attempt(self) -> Attempt:
        """The one that runs."""
        return self._job.attempts[-1]

    def claim(self) -> None:
        """Begin the next attempt. Raises StoreError."""
        number = len(self._job.attempts) + 1
        attempt = Attempt(number, self._host.machine.id, time.time(), "downloading")
        job = replace(
            self._job, status="downloading", reason=None, not_before=0.0, attempts=(*self._job.attempts, attempt)
        )
        self._note(write_job(self._host.store, self._document, job))

    def show(self, status: str, **changes: Any) -> None:
        """The attempt has come further. That is news only: while the store fails it is lost, and the job works on."""
        attempt = replace(self.attempt, status=status)
        changes = {"transfer": (), **changes}
        job = replace(self._job, status=status, attempts=(*self._job.attempts[:-1], attempt), **changes)
        with contextlib.suppress(StoreError):
            self._write(job)

    def end(self, status: str, attempt: Attempt, **changes: Any) -> None:
        """The attempt is over; `status` is the job's, which may be `submitted` or `interrupted`: it goes on.

        Raises:
            StoreError: the store has failed for `PATIENCE` seconds.
        """
        attempts = (*self._job.attempts[:-1], attempt)
        job = replace(self._job, status=status, ports=(), transfer=(), attempts=attempts, **changes)
        started, pause = time.monotonic(), 0.1
        deadline, hurry = started + PATIENCE, started + LASTING
        while True:
            try:
                return self._write(job)
            except StoreError as error:
                if time.monotonic() + pause > (hurry if error.lasting else deadline):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _write(self, job: JobRecord) -> None:
        try:
            self._note(write_job(self._host.store, self._document, job))
        except ConflictError:
            # Perhaps an earlier write of ours got through, and the store failed before it said so.
            try:
                there = read_job(self._host.store, job.run, job.job)
            except DamagedError as damage:  # by whomever: we know what it should say
                self._note(documents.replace(self._host.store, damage.standing_in(job), job))
                return
            if there is None or not (there.value == job or self._is_mine(there.value)):
                raise
            self._note(there if there.value == job else write_job(self._host.store, there, job))

    def _is_mine(self, job: JobRecord) -> bool:
        return job.machine == self._host.machine.id and len(job.attempts) == len(self._job.attempts)

    def _note(self, document: Document[JobRecord]) -> None:
        job = self._job = document.value
        self._document = document
        self._host.observers.job_changed(
            JobEvent(job.run, job.job, job.status, len(job.attempts), time.time(), job.exit_code)
        )
