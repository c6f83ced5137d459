"""Machine records: `machines/<run>/<number>.json`, written before the call that may create the machine.

Machines of a run are numbered, and a record is only ever created: of several who see that a machine is missing, one
launches it. A machine's id is its number and something random: it is also a label, which no other machine has.

When a machine's record is damaged, the jobs that it claimed still have its id: so it can be looked after, and ended.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace as changed
from typing import Final

from dstack_core._ledger import documents
from dstack_core._ledger.documents import DamagedError, Document
from dstack_core._ledger.keys import segment
from dstack_core._ledger.records import JobRecord, MachineRecord
from dstack_core._ledger.runs import job_prefix, machine_prefix
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError
from dstack_core.models import Offer

UNKNOWN: Final = Offer("", "unknown", 0, 0)
"""What a machine has whose record is damaged: nothing that could be counted on."""

CANNOT: Final = "the runner cannot go on: "
"""How the line of a machine's log begins that has an error of its runner in words for people."""


def machine_key(run: str, machine: str) -> str:
    """Key of a machine's record."""
    return f"{machine_prefix(run)}{machine.partition('-')[0]}.json"


def report_key(run: str, machine: str) -> str:
    """Where a machine leaves what it said, if it ends without a runner."""
    return f"runs/{segment(run)}/said/{machine}"


def machine_keys(store: ArtifactStore, run: str) -> list[str]:
    """Keys of the records of all machines that were ever intended for the run. Their count is the next one's number."""
    return [info.key for info in store.list(machine_prefix(run))]


def intend(store: ArtifactStore, run: str, offer: Offer, number: int, now: float) -> Document[MachineRecord]:
    """Record that a machine is about to be asked for. Raises ConflictError when somebody else just did."""
    return record(store, MachineRecord(f"{number}-{os.urandom(8).hex()}", run, offer.backend, offer, now))


def record(store: ArtifactStore, machine: MachineRecord) -> Document[MachineRecord]:
    """Write its first record. Raises ConflictError when the run has a machine of that number."""
    return documents.create(store, machine_key(machine.run, machine.id), machine)


def machines(store: ArtifactStore, run: str, keys: Sequence[str] | None = None) -> Iterator[Document[MachineRecord]]:
    """The records of the run's machines, or those of `keys`. A damaged one is told to the log, and only its machine's
    id is known."""
    for key in machine_keys(store, run) if keys is None else keys:
        try:
            yield documents.read(store, MachineRecord, key)
        except DamagedError as damage:
            yield from _by_its_jobs(store, run, damage)


def cost_so_far(store: ArtifactStore, run: str, now: float) -> float:
    """USD that the run's machines have cost until now."""
    return sum(document.value.cost(now) for document in machines(store, run))


def launched(store: ArtifactStore, run: str, machine: str, handle: str) -> None:
    """Remember the handle. The runner may have registered before."""
    with contextlib.suppress(NotFoundError):  # the run is finished and was removed already
        documents.update(
            store,
            MachineRecord,
            machine_key(run, machine),
            lambda m: None if m.handle == handle else changed(m, handle=handle),
        )


def register(store: ArtifactStore, run: str, machine: str) -> MachineRecord:
    """A runner's first act.

    Raises:
        ConflictError: the machine was given up already, or the run is finished and was removed: the runner then ends.
    """

    def up(record: MachineRecord) -> MachineRecord | None:
        if record.status == "gone":
            raise ConflictError(f"machine {machine} was given up before its runner came up")
        return None if record.status == "up" else changed(record, status="up")

    try:
        return documents.update(store, MachineRecord, machine_key(run, machine), up).value
    except NotFoundError:
        raise ConflictError(f"the run {run} was removed before the runner of {machine} came up") from None


def beat(
    store: ArtifactStore, run: str, machine: str, last: Document[MachineRecord] | None = None
) -> Document[MachineRecord]:
    """Give a sign of life. `last`: what the one before returned; then the record is not read, unless it has changed.

    Raises:
        ConflictError: the machine was given up, or the run was removed.
        StoreError
    """

    def again(record: MachineRecord) -> MachineRecord:
        if record.status == "gone":
            raise ConflictError(f"machine {machine} was given up")
        return changed(record, beats=record.beats + 1)

    if last is not None:
        with contextlib.suppress(ConflictError):
            return documents.replace(store, last, again(last.value))
    try:
        return documents.update(store, MachineRecord, machine_key(run, machine), again)
    except NotFoundError:
        raise ConflictError(f"the run {run} was removed") from None


def gone(
    store: ArtifactStore, run: str, machine: str, now: float, peak: int | None = None, *, reason: str | None = None
) -> None:
    """Record that the machine ended; `peak`: bytes of memory that its runner had at most, if it could tell.

    `reason`: why it ended without a runner.
    """

    def end(record: MachineRecord) -> MachineRecord | None:
        if record.status == "gone":
            return None
        return changed(record, status="gone", ended=now, peak_memory=peak, reason=reason)

    try:
        documents.update(store, MachineRecord, machine_key(run, machine), end)
    except NotFoundError:
        return  # the run was removed, and it with it
    except DamagedError as damage:
        record = MachineRecord(machine, run, "", UNKNOWN, now, "gone", ended=now)
        with contextlib.suppress(ConflictError):  # somebody else has just recorded the same
            documents.replace(store, damage.standing_in(record), record)


def _by_its_jobs(store: ArtifactStore, run: str, damage: DamagedError) -> Iterator[Document[MachineRecord]]:
    _warn(str(damage))
    number = damage.key.rpartition("/")[2].partition(".")[0]
    ids = {attempt.machine for job in _readable_jobs(store, run) for attempt in job.attempts}
    for machine in sorted(id for id in ids if id.partition("-")[0] == number):  # noqa: A001
        yield damage.standing_in(MachineRecord(machine, run, "", UNKNOWN, 0.0, "up"))


@functools.lru_cache
def _warn(message: str) -> None:
    import logging  # rarely needed, and slow to import

    logging.getLogger("dstack").warning(message)  # once: a run is looked at many times a second


def _readable_jobs(store: ArtifactStore, run: str) -> Iterator[JobRecord]:
    for info in list(store.list(job_prefix(run))):
        with contextlib.suppress(DamagedError, NotFoundError):
            yield documents.read(store, JobRecord, info.key).value
