"""The lease of `gc`: `gc/lease`, which is there while somebody frees space, and closed while objects are deleted.

Whoever saves (`marks.saving`) writes a mark and then looks whether the lease is closed; `gc` closes the lease and then
looks for marks. Of two who do that, at least one sees the other.

A lease whose holder has ended is removed by whoever meets it. A holder that lives and does not stir for `STALLED`
seconds (it was stopped, its disk hangs) holds up everybody else. If it is a process of this machine, it is killed,
which harms nothing, and so cannot wake up and delete what was saved since. That of another machine cannot be killed:
its lease is taken away, and were it to wake up in the middle of a batch of deletions, it would go on with that batch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from dstack_core._ledger import documents
from dstack_core._ledger.documents import DamagedError, Document
from dstack_core._ledger.process import Process, end, is_gone, this_process
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError, StoreError

KEY: Final = "gc/lease"
BEAT: Final = 5.0
"""Seconds after which a holder stirs, at the latest."""
STALLED: Final = 60.0
"""Seconds after which one that does not is taken for stopped."""
PAUSE: Final = 0.05
"""Seconds between two looks of whoever waits."""
UNKNOWN: Final = Process("", "", "", 0, 0)


@dataclass(frozen=True)
class Lease:
    """Who frees space. `beat` counts its signs of life; while `closed`, nothing may be saved."""

    process: Process
    beat: int = 0
    closed: bool = False


class HeldLease:
    """The lease, in the hands of who frees space."""

    def __init__(self, store: ArtifactStore) -> None:
        """Take it; one that nobody stirs is waited for, and then taken away. Raises ConflictError when one does."""
        self._store = store
        watch = Watch(store)
        first = None
        while (found := watch.look()) is not None:
            first = first or found
            if found != first:
                raise ConflictError(f"{_who(found)} is at work", hint="wait for its end, and try again")
            pause(0 if watch.removed else PAUSE)
        self._document = documents.create(store, KEY, Lease(this_process()))
        self._beaten = time.monotonic()

    def close(self) -> None:
        """From now on nobody begins to save."""
        self._replace(closed=True)

    def open(self) -> None:
        """Let others save."""
        self._replace(closed=False)

    def beat(self) -> None:
        """Show that one lives, and be sure that one still has it. Raises StoreError when not."""
        self._replace()

    def beat_if_due(self) -> None:
        """`beat`, if the last one was some seconds ago."""
        if time.monotonic() - self._beaten > BEAT:
            self.beat()

    def release(self) -> None:
        """Give it back, if one still has it."""
        with contextlib.suppress(ConflictError):
            self._store.delete(KEY, self._document.version)

    def _replace(self, closed: bool | None = None) -> None:
        lease = self._document.value
        lease = replace(lease, beat=lease.beat + 1, closed=lease.closed if closed is None else closed)
        try:
            self._document = documents.replace(self._store, self._document, lease)
        except (ConflictError, NotFoundError):
            raise StoreError(
                "another dstack took this one for stopped and went on without it", hint="run dstack gc again"
            ) from None
        self._beaten = time.monotonic()


class Watch:
    """Looks at somebody else's lease, and removes it when its holder is no more. `removed`: it was just now."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._version = ""
        self._since = 0.0
        self.removed = False

    def look(self) -> Lease | None:
        """The lease that is to be respected, None when there is none. Raises StoreError when it holds up everybody."""
        self.removed = False
        document = _read(self._store)
        if document is None:
            return None
        now = time.monotonic()
        if document.version != self._version:
            self._version, self._since = document.version, now
        gone = is_gone(document.value.process)
        if gone is False and now - self._since > STALLED:
            gone = self._end(document.value)
        if gone or (gone is None and now - self._since > STALLED):
            with contextlib.suppress(ConflictError):  # it stirred
                self._store.delete(KEY, document.version)
                self.removed = True
        return document.value

    def _end(self, lease: Lease) -> bool:
        if not end(lease.process):
            raise StoreError(f"{_who(lease)} does not stir and holds up everybody", hint="end it, or let it go on")
        while is_gone(lease.process) is False:
            pause(PAUSE)
        return True


def is_closed(store: ArtifactStore) -> bool:
    """Whether somebody deletes objects now, as far as anybody can see."""
    if not store.exists(KEY):
        return False
    document = _read(store)
    return document is not None and document.value.closed


def await_open(store: ArtifactStore, wait: Callable[[], None]) -> None:
    """Return when the lease is open or free. `wait` is called now and then, and may raise."""
    watch = Watch(store)
    told = time.monotonic() + 2
    while (found := watch.look()) is not None and found.closed:
        wait()
        if told and time.monotonic() > told:
            told = 0.0
            _tell(f"waiting for the end of {_who(found)}")
        pause(PAUSE)


def pause(seconds: float) -> None:
    """Wait a moment before looking again."""
    time.sleep(seconds)


def _read(store: ArtifactStore) -> Document[Lease] | None:
    try:
        return documents.read(store, Lease, KEY)
    except NotFoundError:
        return None
    except DamagedError as damage:
        return damage.standing_in(Lease(UNKNOWN, closed=True))


def _who(lease: Lease) -> str:
    process = lease.process
    return f"dstack gc (process {process.pid} on {process.host.partition(' ')[0] or 'an unknown machine'})"


def _tell(message: str) -> None:
    import logging  # rarely needed, and slow to import

    logging.getLogger("dstack").warning(message)
