"""Machines that are kept for a while when their run is over: `idle/<label>.json`.

Their own runner writes that, and looks at it again and again. Another run takes such a machine by writing its own name
into it, before it makes a record of its own; the machine ends by removing it. Both are conditional writes, so a machine
is taken before its end, or not at all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from dstack_core._ledger import documents
from dstack_core._ledger.documents import DamagedError, Document
from dstack_core._ledger.keys import segment
from dstack_core._ledger.machines import record
from dstack_core._ledger.records import MachineRecord
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError
from dstack_core.models import Offer

PREFIX: Final = "idle/"
ENDED: Final = "-"
"""What stands instead of a run's name in the moment before the object is removed."""


@dataclass(frozen=True)
class IdleMachine:
    """A machine that waits for another run.

    Attributes:
        label: with which it was launched, and by which its backend finds it; see `MachineRecord.label`.
        run: that it worked for.
        kind: what it started from and was told, as a digest: it does for runs that would launch one of the same kind.
        since, until: seconds since the epoch; it ends when it has not been taken until then.
        taken: `RUN MACHINE`, once a run has taken it: its name, and the id that the machine has there.
    """

    label: str
    run: str
    offer: Offer
    handle: str | None
    kind: str
    since: float
    until: float
    taken: str = ""


def offer_itself(store: ArtifactStore, machine: IdleMachine) -> Document[IdleMachine]:
    """Say that a machine can be taken. What an earlier wait of its has left is replaced. Raises StoreError."""
    try:
        return documents.create(store, _key(machine.label), machine)
    except ConflictError:
        return documents.replace(store, documents.read(store, IdleMachine, _key(machine.label)), machine)


def look(store: ArtifactStore, label: str) -> Document[IdleMachine] | None:
    """How it stands with a machine; None when somebody has removed it: it is to end. Raises StoreError."""
    try:
        return documents.read(store, IdleMachine, _key(label))
    except (NotFoundError, DamagedError):
        return None


def idle_machines(store: ArtifactStore) -> Iterator[Document[IdleMachine]]:
    """Every one. Raises StoreError."""
    for info in list(store.list(PREFIX)):
        with contextlib.suppress(NotFoundError, DamagedError):
            yield documents.read(store, IdleMachine, info.key)


def take(store: ArtifactStore, document: Document[IdleMachine], run: str, number: int, now: float) -> MachineRecord:
    """Take a machine for a run, as the run's machine of that number.

    Raises:
        ConflictError: somebody else was faster, or it has just ended; or the run has a machine of that number. The
            machine then ends by itself: no record tells it to begin.
    """
    idle = document.value
    machine = MachineRecord(
        f"{number}-{os.urandom(8).hex()}", run, idle.offer.backend, idle.offer, now, handle=idle.handle, born=idle.label
    )
    taken = documents.replace(store, document, replace(idle, taken=f"{run} {machine.id}"))
    try:
        return record(store, machine).value
    except ConflictError:
        with contextlib.suppress(ConflictError):
            documents.replace(store, taken, idle)
        raise


def end(store: ArtifactStore, document: Document[IdleMachine]) -> None:
    """It is not to be taken any more; when its runner waits there, it ends. Raises ConflictError: it was just taken."""
    documents.replace(store, document, replace(document.value, taken=ENDED))
    forget(store, document.value.label)


def forget(store: ArtifactStore, label: str) -> None:
    """It does not wait any more: it has ended, or the record of a run tells of it now. Raises StoreError."""
    store.delete(_key(label))


def _key(label: str) -> str:
    return f"{PREFIX}{segment(label)}.json"
