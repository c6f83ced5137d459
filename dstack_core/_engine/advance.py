"""Bring a run forward: what crashed is repaired, what is decided is recorded, what is missing is launched.

Idempotent, and safe to be called by anyone at any time: the attached command, a later one, another user's, a runner
that sees work for other machines. Conditional writes decide who wins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from dstack_core._engine.budget import keep_to_budget
from dstack_core._engine.demand import missing
from dstack_core._engine.engine import Engine
from dstack_core._engine.settle import Tell, end_unstarted, settle
from dstack_core._engine.upkeep import look_after
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import machine_keys
from dstack_core._ledger.records import MachineRecord
from dstack_core.errors import CapacityError

LAUNCHES: Final = 5
"""A run fails after so many machines that were lost before they had done anything."""
FAILED_STARTS: Final = 2
"""The same of machines that say why they have no runner: the next would say the same."""

SCARCE: Final = 120.0
"""Seconds until a run that has machines, but not all that it could do with, asks for more again."""


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
    keys = machine_keys(engine.store, view.run.name)
    view.machines = known = look_after(engine, view, keys)
    keep_to_budget(view, known, time.time())
    settle(view, engine.tell)
    if view.finished:
        return
    live = [machine for machine in known if machine.status != "gone"]
    limit = engine.remote.limits.machines_at_once(engine.backend.distant)
    if missing(view, live, limit) is None:
        return
    reason = _hopeless(view, known) if engine.launches else None
    if reason:
        _give_up(view, engine.tell, reason)
        return
    _launch_missing(engine, view, live, limit, len(keys))


def _launch_missing(engine: Engine, view: RunView, live: list[MachineRecord], limit: int | None, number: int) -> None:
    # Not for `dstack ps` of a run that goes its way.
    from dstack_core._engine.idle import take_idle
    from dstack_core._engine.launch import launch

    if live and time.monotonic() < engine.scarce_until:
        return
    while wanted := missing(view, live, limit):
        try:
            machine = take_idle(engine, view.run.name, wanted, number)
            if machine is None and engine.launches:
                machine = launch(engine, view.run.name, wanted, number)
        except CapacityError as error:
            if not live:
                raise
            _go_on_without(engine, error)
            return
        if machine is None:
            return
        live.append(machine)
        number = int(machine.id.partition("-")[0]) + 1


def _go_on_without(engine: Engine, error: CapacityError) -> None:
    """The run has machines, and those at work may do all of it in the end."""
    import logging  # rarely needed, and slow to import

    engine.scarce_until = time.monotonic() + SCARCE
    logging.getLogger("dstack").warning(f"no other machine for now: {error}")


def _hopeless(view: RunView, known: Sequence[MachineRecord]) -> str | None:
    """Why another machine would not do better than those before."""
    worked = {attempt.machine for document in view.jobs.values() for attempt in document.value.attempts}
    useless = [m for m in known if m.status == "gone" and m.handle and m.peak_memory is None and m.id not in worked]
    said = [machine.reason for machine in useless if machine.reason]
    if len(said) >= FAILED_STARTS:
        return f"{len(said)} machines ended before their runners came up: {said[-1]}"
    if len(useless) >= LAUNCHES:
        return f"{len(useless)} machines ended before the run was finished; see their logs"
    return None


def _give_up(view: RunView, tell: Tell, reason: str) -> None:
    for name in list(view.progress.ready):
        end_unstarted(view, tell, name, "failed", reason)
    settle(view, tell)
