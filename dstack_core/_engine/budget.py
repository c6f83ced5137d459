"""What a run may cost. Whoever brings it forward looks, a runner elsewhere every few seconds."""

from __future__ import annotations

from collections.abc import Iterable

from dstack_core._engine.view import RunView
from dstack_core._ledger.records import MachineRecord
from dstack_core._ledger.runs import ask_to_end


def keep_to_budget(view: RunView, machines: Iterable[MachineRecord], now: float) -> None:
    """Have the run stopped, as `dstack stop` does, once its machines have cost what it may: its jobs save what they
    have, which takes a while and is paid for, too."""
    run = view.run
    if run.budget is None or run.desired:
        return
    if sum(machine.cost(now) for machine in machines) >= run.budget:
        ask_to_end(view.store, run.name, "stop", f"its budget of {run.budget:g} USD is spent")
        view.refresh()
