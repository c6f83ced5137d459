"""What it costs that a machine is kept for another run: it counts for the run whose remote asked for that.

The next run's own cost begins when it takes the machine.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace as changed

from dstack_core._ledger import documents
from dstack_core._ledger.machines import cost_so_far, machine_key
from dstack_core._ledger.records import MachineRecord
from dstack_core._ledger.runs import raise_cost, read_run
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, NotFoundError


def charge(store: ArtifactStore, run: str, machine: str, until: float) -> None:
    """Record that the run's machine, whose work is over, was kept until then. Repeating it changes nothing.

    Raises StoreError.
    """

    def longer(record: MachineRecord) -> MachineRecord | None:
        waited = until - (until if record.ended is None else record.ended)
        return changed(record, waited=waited) if waited > record.waited else None

    with contextlib.suppress(NotFoundError):  # the run was removed: nobody asks what it has cost
        documents.update(store, MachineRecord, machine_key(run, machine), longer)
        raise_cost(store, run, cost_so_far(store, run, until))


def affordable(store: ArtifactStore, run: str, price: float, now: float) -> float:
    """Seconds for which a machine of this price per hour may be kept, by the run's budget; 0 if nobody can tell."""
    try:
        budget = read_run(store, run).value.budget
        if budget is None or not price:
            return math.inf
        return max(budget - cost_so_far(store, run, now), 0.0) / price * 3600
    except DstackError:
        return 0.0
