"""Free what nothing leads to, beside jobs that run and commands that save.

1. Take the lease and close it; then wait until everybody has ended who began to save before (`_ledger.marks`).
2. Now nothing that could become referred to again is garbage: find out what is kept, and delete the rest, traces before
   trees before packs before bytes. Before each batch, be sure that one still has the lease.
3. Give the lease back.

Killed at any moment, it leaves a lease whose holder has ended, which whoever meets it removes, and less garbage than
before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from dstack_core._engine.garbage import Garbage, garbage, refuse_problems
from dstack_core._engine.roots import kept
from dstack_core._ledger.lease import PAUSE, HeldLease, pause
from dstack_core._ledger.marks import Mark, live_marks
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError

BATCH: Final = 64
"""Objects deleted between two looks at the lease."""
CLOSED: Final = 5.0
"""Seconds for which new savers are held up while those before them are waited for; then they may go on for as long."""
PATIENCE: Final = 60.0
"""Seconds for which savers are waited for in all."""


def find_garbage(store: ArtifactStore) -> Iterator[Garbage]:
    """What `collect` would delete if nobody did anything meanwhile. Writes nothing. Raises StoreError."""
    found = kept(store)
    refuse_problems(found)
    return garbage(store, found, lambda: None)


def collect(store: ArtifactStore, patience: float = PATIENCE) -> Iterator[Garbage]:
    """Delete what is garbage; each object when it is gone. Close the iterator to stop.

    Raises:
        ConflictError: another is at work, or somebody saves for longer than `patience` seconds.
        StoreError: the store failed, a record is damaged, or this process was stopped for too long.
    """
    with _lease(store) as held:
        _wait_for_savers(store, held, patience)
        found = kept(store, held.beat_if_due)
        refuse_problems(found)
        rest = garbage(store, found, held.beat_if_due)
        while batch := list(islice(rest, BATCH)):
            held.beat()
            for one in batch:
                store.delete(one.key)
            yield from batch


@contextmanager
def _lease(store: ArtifactStore) -> Iterator[HeldLease]:
    held = HeldLease(store)
    try:
        yield held
    finally:
        held.release()


def _wait_for_savers(store: ArtifactStore, held: HeldLease, patience: float) -> None:
    """Return with the lease closed and nobody saving."""
    deadline = time.monotonic() + patience
    while True:
        held.close()
        if not _wait_until(lambda: not live_marks(store), held.beat_if_due, CLOSED):
            held.open()
            if time.monotonic() > deadline:
                raise _busy(live_marks(store))
            _wait_until(lambda: not live_marks(store), held.beat_if_due, CLOSED)
            continue
        return


def _wait_until(condition: Callable[[], bool], meanwhile: Callable[[], None], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        meanwhile()
        pause(PAUSE)
    return True


def _busy(marks: list[Mark]) -> ConflictError:
    who = ", ".join(sorted({mark.what for mark in marks})[:3]) or "others"
    return ConflictError(f"nothing was freed, because these save something: {who}", hint="try again when they are done")
