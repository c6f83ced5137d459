"""Signs of life of machines, as somebody sees them who keeps looking: by its own clock, whatever theirs says."""

from __future__ import annotations

import time
from typing import Final

from dstack_core._ledger.records import MachineRecord

MARGIN: Final = 30.0
"""Seconds beyond its lease until a machine has powered itself off."""


class Pulses:
    """Remembers since when each machine has given no sign of life."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def is_lost(self, machine: MachineRecord, lease: float) -> bool:
        """Whether it has been silent for longer than it can be alive, while somebody looked."""
        now = time.monotonic()
        beats, since = self._seen.get(machine.id, (-1, now))
        if beats != machine.beats:
            self._seen[machine.id] = (machine.beats, now)
            return False
        return now - since > lease + MARGIN
