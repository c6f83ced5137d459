"""Bring a run forward: what crashed is repaired, what is decided is recorded, what is missing is launched.

Idempotent, and safe to be called by anyone at any time: the attached command, a later one, another user's.
Conditional writes decide who wins. The runner has its own loop, made of the same parts.
"""

from __future__ import annotations

import shutil
import time
from typing import Final

from dstack_core._engine.engine import Engine
from dstack_core._engine.executors import label
from dstack_core._engine.outcome import interrupted
from dstack_core._engine.settle import Tell, end_unstarted, settle
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import count_machines, gone, machines
from dstack_core._ledger.records import CLAIMED, MachineRecord
from dstack_core._ledger.runs import write_job
from dstack_core.errors import ConflictError, DstackError
from dstack_core.home import dstack_home
from dstack_core.matching import satisfies
from dstack_core.models import Offer, Requirements

BOOT: Final = 15.0
"""Seconds in which a machine whose record is written may still be on its way: nobody gives it up before."""
LAUNCHES: Final = 5
"""A run whose machines end again and again before it is finished fails after so many."""


def advance(engine: Engine, view: RunView) -> None:
    """Do for the run whatever can be done now. `view` is up to date afterwards.

    Raises:
        CapacityError: a machine is needed and none can be had.
    """
    view.refresh()
    settle(view, engine.tell)
    if view.finished:
        return
    # Counted before anything is looked at: who launches a machine names it by this number, and only one can.
    number = count_machines(engine.store, view.run.name)
    known = [document.value for document in machines(engine.store, view.run.name)]
    live = [machine for machine in known if _check_on(engine, view, machine)]
    settle(view, engine.tell)
    if view.finished:
        return
    wanted = _wanted(view, [machine.offer for machine in live])
    if wanted is None:
        return
    ended = sum(machine.handle is not None for machine in known) - len(live)
    if ended >= LAUNCHES:
        _give_up(view, engine.tell, ended)
        return
    from dstack_core._engine.launch import launch  # not for `dstack ps` of a run that goes its way

    launch(engine, view.run.name, wanted, number)


def _check_on(engine: Engine, view: RunView, machine: MachineRecord) -> bool:
    """Whether to count on the machine. If not, it is ended for good, and what it was working on is free again."""
    if machine.status == "gone":
        view.refresh()  # it may have left since the last look, with the run finished: nothing is to be launched then
        _release(view, machine.id)
        return False
    if engine.backend.state(machine.id, machine.handle) != "gone":
        return True
    if machine.status == "intent" and time.time() - machine.created < BOOT and machine.handle is None:
        return True
    engine.backend.terminate(machine.id, machine.handle)  # what it started may have outlived it
    work = dstack_home() / "work" / machine.id
    if work.exists():  # then it was this very machine
        _sweep(engine, view, machine)
        shutil.rmtree(work, ignore_errors=True)
    gone(engine.store, view.run.name, machine.id, time.time())
    view.refresh()
    _release(view, machine.id)
    return False


def _sweep(engine: Engine, view: RunView, machine: MachineRecord) -> None:
    """End what is left of the attempts of a machine of this computer. A container is no process of its runner's."""
    for document in view.jobs.values():
        job = document.value
        if job.status in CLAIMED and job.machine == machine.id:
            name = view.plan.job(job.job).spec.executor
            try:
                engine.executors.get(name).sweep(label(machine.id, job.job, len(job.attempts)))
            except DstackError as error:
                _warn(f"what {job.job} of {job.run} left behind could not be ended: {error}")


def _warn(message: str) -> None:
    import logging  # rarely needed, and slow to import

    logging.getLogger("dstack").warning(message)


def _release(view: RunView, machine: str) -> None:
    """Jobs that a machine took with it were interrupted, not failed."""
    for document in list(view.jobs.values()):
        job = document.value
        if job.status in CLAIMED and job.machine == machine:
            try:
                retry = view.plan.job(job.job).spec.retry
                view.note(write_job(view.store, document, interrupted(job, "its machine was lost", retry)))
            except ConflictError:
                view.refresh()


def _wanted(view: RunView, offers: list[Offer]) -> Requirements | None:
    """What the first ready job needs that no live machine can give."""
    for name in view.progress.ready:
        needed = view.plan.job(name).spec.requirements
        if not any(satisfies(offer, needed) for offer in offers):
            return needed
    return None


def _give_up(view: RunView, tell: Tell, ended: int) -> None:
    reason = f"{ended} machines ended before the run was finished; see their logs"
    for name in list(view.progress.ready):
        end_unstarted(view, tell, name, "failed", reason)
    settle(view, tell)
