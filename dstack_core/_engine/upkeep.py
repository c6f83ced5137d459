"""Which machines of a run to count on. Those that are lost are ended for good, and their jobs are free again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dstack_core._engine.engine import Engine
from dstack_core._engine.executors import label
from dstack_core._engine.outcome import interrupted
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import gone, machines
from dstack_core._ledger.records import CLAIMED, MachineRecord
from dstack_core._ledger.runs import write_job
from dstack_core.errors import ConflictError, DstackError
from dstack_core.home import dstack_home

BOOT: Final = 15.0
DISTANT_BOOT: Final = 120.0
"""Seconds in which a machine whose record is written may still be on its way: nobody gives it up before. A cloud is
asked for one offer after the other, and takes its time to answer and to know what it answered."""


def look_after(engine: Engine, view: RunView, keys: Sequence[str]) -> list[MachineRecord]:
    """The records of the run's machines, by their keys, as they are after that; those not to count on are `gone`."""
    return [_checked(engine, view, document.value) for document in machines(engine.store, view.run.name, keys)]


def _checked(engine: Engine, view: RunView, machine: MachineRecord) -> MachineRecord:
    if machine.status == "gone":
        view.refresh()  # it may have left since the last look, with the run finished: nothing is to be launched then
        _release(view, machine.id)
        return machine
    if _lives(engine, machine):
        return machine
    engine.backend.terminate(machine.label, machine.handle)  # what it started may have outlived it
    work = dstack_home() / "work" / machine.id
    if work.exists():  # then it was this very machine
        _sweep(engine, view, machine)
        shutil.rmtree(work, ignore_errors=True)
    reason = _reason(engine, machine)
    gone(engine.store, view.run.name, machine.id, time.time(), reason=reason)
    view.refresh()
    _release(view, machine.id)
    return replace(machine, status="gone", reason=reason)


def _lives(engine: Engine, machine: MachineRecord) -> bool:
    distant = engine.backend.distant
    if engine.backend.state(machine.label, machine.handle) != "gone":
        return not (distant and engine.pulses.is_lost(machine, engine.remote.limits.lease))
    young = time.time() - machine.created < (DISTANT_BOOT if distant else BOOT)
    return machine.status == "intent" and young and machine.handle is None


def _reason(engine: Engine, machine: MachineRecord) -> str | None:
    """Why a machine ended without a runner, if it is one that can tell."""
    if not engine.backend.distant:
        return None
    from dstack_core._engine.elsewhere import report

    return report(engine.store, machine.run, machine.id)


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
