"""Marks of those who save: `saving/<id>`, from before they rely on anything stored until a record refers to it.

What is saved refers to what is there already: equal bytes are stored once. Until a run, a job or a tag refers to it in
turn, nothing tells it from garbage but such a mark. See `lease` for the other side.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dstack_core._ledger import documents, lease
from dstack_core._ledger.process import Process, is_gone, this_process
from dstack_core._ledger.records import CLAIMED, JobRecord, MachineRecord
from dstack_core._ledger.runs import job_prefix, machine_prefix
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, NotFoundError

PREFIX: Final = "saving/"
LONGEST: Final = 86400.0
"""Seconds for which the mark of a process that nobody here can look at is believed."""

_held = threading.local()


@dataclass(frozen=True)
class Mark:
    """Who saves, for people: `what`; a runner also says for which run and on which machine."""

    what: str
    process: Process
    since: float
    run: str = ""
    machine: str = ""


def _nothing() -> None:
    """Nobody wants to give up."""


@contextlib.contextmanager
def saving(
    store: ArtifactStore, what: str, *, run: str = "", machine: str = "", wait: Callable[[], None] = _nothing
) -> Iterator[None]:
    """Around everything from the first look at what is stored already to the record that refers to it.

    Waits while `gc` deletes; `wait` is called meanwhile, and may raise. One write and one deletion; inside another
    `saving` of the same thread, none.
    """
    mine: set[str] = _held.__dict__.setdefault("stores", set())
    if store.location in mine:
        yield
        return
    key = f"{PREFIX}{os.urandom(8).hex()}"
    mark = Mark(what, this_process(), time.time(), run, machine)
    documents.create(store, key, mark)
    try:
        while lease.is_closed(store):
            store.delete(key)  # who deletes waits for the end of those that were there before
            lease.await_open(store, wait)
            documents.create(store, key, mark)
        mine.add(store.location)
        yield
    finally:
        mine.discard(store.location)
        with contextlib.suppress(DstackError):  # it goes with the next gc
            store.delete(key)


def live_marks(store: ArtifactStore) -> list[Mark]:
    """Of those who still save. Removes the marks of those who have ended."""
    found = []
    for info in list(store.list(PREFIX)):
        try:
            mark = documents.read(store, Mark, info.key).value
        except NotFoundError:
            continue
        if _is_over(store, mark):
            store.delete(info.key)
        else:
            found.append(mark)
    return found


def _is_over(store: ArtifactStore, mark: Mark) -> bool:
    gone = is_gone(mark.process)
    if gone is not None:
        return gone
    return (bool(mark.machine) and _was_released(store, mark)) or time.time() - mark.since > LONGEST


def _was_released(store: ArtifactStore, mark: Mark) -> bool:
    """Whether the machine was given up and its jobs were taken from it: then it cannot record anything any more."""
    try:
        machines = [documents.read(store, MachineRecord, i.key).value for i in store.list(machine_prefix(mark.run))]
        if any(machine.id == mark.machine and machine.status != "gone" for machine in machines):
            return False
        jobs = [documents.read(store, JobRecord, info.key).value for info in store.list(job_prefix(mark.run))]
    except DstackError:
        return False
    return not any(job.status in CLAIMED and job.machine == mark.machine for job in jobs)
