"""Machines that wait for another run: the next one that could do with such a machine takes it."""

from __future__ import annotations

import time
from typing import Final

from dstack_core._engine.engine import Engine
from dstack_core._ledger.idle import idle_machines, take
from dstack_core._ledger.records import MachineRecord
from dstack_core.errors import ConflictError
from dstack_core.matching import satisfies
from dstack_core.models import Requirements

MARGIN: Final = 10.0
"""Seconds before its end in which a machine is not taken: clocks differ."""


def take_idle(engine: Engine, run: str, wanted: Requirements, number: int) -> MachineRecord | None:
    """Take a machine that can run a job with these requirements, as the run's machine of that `number`.

    None: there is none. Raises StoreError, and what `Engine.prepare` raises.
    """
    if not engine.backend.distant:
        return None
    now = time.time()
    for document in idle_machines(engine.store):
        idle = document.value
        fits = not idle.taken and idle.until > now + MARGIN and satisfies(idle.offer, wanted)
        if not fits or idle.kind != engine.prepare().kind:
            continue
        if engine.backend.state(idle.label, idle.handle) != "gone":
            try:
                return take(engine.store, document, run, number, now)
            except ConflictError:
                continue
    return None
