"""Which machine is missing: what ready jobs ask for, beside what there is and what of it is taken."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from dstack_core._engine.capacity import Room
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import CLAIMED, MachineRecord
from dstack_core.matching import satisfies
from dstack_core.models import Requirements

PATIENCE: Final = 3
"""After so many interruptions, a job that could do with a machine that may be taken away gets one that stays."""


def requirements(view: RunView, name: str) -> Requirements:
    """What a job asks of its machine, after what happened to it so far."""
    asked = view.plan.job(name).spec.requirements
    if asked.interruptible and _interruptions(view, name) >= PATIENCE:
        return replace(asked, interruptible=False)
    return asked


def missing(view: RunView, live: Sequence[MachineRecord], limit: int | None) -> Requirements | None:
    """What the first ready job needs for which there is no room on the live machines; None when there is room for all,
    or are as many machines as there may be. Without a limit, one that is right for a job is enough, be it busy."""
    if limit is not None and len(live) >= limit:
        return None
    rooms = {machine.id: Room(machine.offer) for machine in live}
    for document in view.jobs.values():
        job = document.value
        if job.status in CLAIMED and job.machine in rooms:
            rooms[job.machine].take(view.plan.job(job.job).spec.requirements)
    for name in ready(view, early=not live):  # somebody has to be there when a job's time comes
        wanted = requirements(view, name)
        right = [room for room in rooms.values() if satisfies(room.offer, wanted)]
        if not any(room.take(wanted) for room in right) and not (right and limit is None):
            return wanted
    return None


def ready(view: RunView, *, early: bool = False) -> Iterator[str]:
    """Jobs that may start now: not before their time unless `early`, and no more cells of a matrix than may run at
    once."""
    cells = busy_cells(view)
    for name in list(view.progress.ready):
        job, document = view.plan.job(name), view.jobs.get(name)
        if not early and document is not None and document.value.not_before > time.time():
            continue
        if job.cell and job.cell.max_parallel:
            if cells[job.cell.workflow] >= job.cell.max_parallel:
                continue
            cells[job.cell.workflow] += 1
        yield name


def busy_cells(view: RunView) -> Counter[str]:
    """How many cells run of each workflow that limits them, on whatever machines of the run."""
    status = view.progress.status
    return Counter(workflow for name, workflow in view.limited.items() if status[name] in CLAIMED)


def _interruptions(view: RunView, name: str) -> int:
    document = view.jobs.get(name)
    return sum(attempt.status == "interrupted" for attempt in document.value.attempts) if document else 0
