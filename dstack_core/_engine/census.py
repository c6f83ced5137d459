"""Which machines a remote has: those that records tell of, and what its backend has that no record explains."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dstack_core._ledger import documents
from dstack_core._ledger.documents import DamagedError
from dstack_core._ledger.identity import store_id
from dstack_core._ledger.idle import IdleMachine, forget, idle_machines
from dstack_core._ledger.machines import UNKNOWN, machine_key, machines
from dstack_core._ledger.records import MachineRecord
from dstack_core._ledger.runs import active_runs
from dstack_core.artifact_store import ArtifactStore
from dstack_core.backend import Backend, Leftover, SupportsLeftovers
from dstack_core.errors import DstackError, NotFoundError

NEW: Final = 120.0
"""Seconds in which a machine may be on its way, and not to be seen yet."""


OVERDUE: Final = 3600.0
"""Seconds after which a machine that should have stopped waiting is no better than one without a record."""


@dataclass(frozen=True)
class Census:
    """What there is.

    Attributes:
        machines: records of machines that are not gone.
        unexplained: what carries this store's label, and has no such record.
        foreign: how many things carry the label of another store, which alone can explain them.
        lost: ids of `machines` that the backend does not have any more.
        idle: what waits for another run.
    """

    machines: Sequence[MachineRecord]
    unexplained: Sequence[Leftover]
    foreign: int = 0
    lost: frozenset[str] = frozenset()
    idle: Sequence[IdleMachine] = ()


def census(store: ArtifactStore, backend: Backend) -> Census:
    """Look. Raises DstackError when the store or the backend cannot be asked.

    The backend comes first: a machine's record is older than the machine, so whatever is seen there has one by then.
    """
    found = list(backend.leftovers()) if isinstance(backend, SupportsLeftovers) else []
    own = store_id(store) if found else ""
    ours = [one for one in found if one.store == own]
    waiting = {one.label: one for one in _waiting(store)}
    known = {record.label: record for record in _active(store)}
    unexplained = []
    for one in ours:
        if one.machine in waiting:
            continue
        record = known.get(one.machine) or _record(store, one)
        if record is None:
            unexplained.append(one)
        else:
            known[record.label] = record
    every = sorted(known.values(), key=lambda record: record.created)
    there = {one.machine for one in ours if one.kind == "machine"}
    telling = isinstance(backend, SupportsLeftovers)
    lost = frozenset(one.id for one in every if telling and one.label not in there and _is_old(one))
    idle = [one for one in waiting.values() if not telling or one.label in there]
    for label in waiting.keys() - {one.label for one in idle}:
        forget(store, label)  # it has ended without a word
    return Census(every, unexplained, len(found) - len(ours), lost, idle)


def _is_old(record: MachineRecord) -> bool:
    """Whether a backend that tells what it has would tell of this machine by now."""
    return time.time() - record.created > NEW


def _waiting(store: ArtifactStore) -> Iterator[IdleMachine]:
    """Machines that wait for another run. One that is long overdue explains nothing any more."""
    for document in idle_machines(store):
        if time.time() < document.value.until + OVERDUE:
            yield document.value


def _active(store: ArtifactStore) -> Iterator[MachineRecord]:
    for run in active_runs(store):
        for document in machines(store, run.value.name):
            if document.value.status != "gone":
                yield document.value


def _record(store: ArtifactStore, leftover: Leftover) -> MachineRecord | None:
    """The record of a machine whose run is over, if it is still to be counted on.

    One that cannot be read explains what it would explain: nothing is ended for want of a record that may be there.
    """
    if not leftover.run or not leftover.machine:
        return None
    try:
        record = documents.read(store, MachineRecord, machine_key(leftover.run, leftover.machine)).value
    except NotFoundError:
        return None
    except DamagedError:
        return MachineRecord(leftover.machine, leftover.run, "", UNKNOWN, leftover.created, "up")
    return record if record.id == leftover.machine and record.status != "gone" else None


def end_all(backend: SupportsLeftovers, leftovers: Sequence[Leftover]) -> list[tuple[Leftover, DstackError | None]]:
    """End each; whatever fails does not keep the others. Returns why it failed, if it did."""
    done: list[tuple[Leftover, DstackError | None]] = []
    for one in leftovers:
        try:
            backend.end(one)
            done.append((one, None))
        except DstackError as error:
            done.append((one, error))
    return done
