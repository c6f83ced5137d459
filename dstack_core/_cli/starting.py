"""Machines that a run waits for, as a line for people: a cloud takes its time to start one."""

from __future__ import annotations

import time
from typing import Final

from dstack_core._cli import words
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import machines
from dstack_core._ledger.records import MachineRecord
from dstack_core.errors import DstackError
from dstack_core.models import Offer

PAUSE: Final = 3.0
"""Seconds between two looks at the machines: each costs requests."""


class Starting:
    """What starts for a run while none of its jobs is worked on."""

    def __init__(self) -> None:
        self._looked = -PAUSE
        self._machines: list[MachineRecord] = []

    def line(self, view: RunView) -> str | None:
        """`t3.small in us-east-1a starts, 23 s`; None when nothing does that costs anything, or it cannot be told."""
        if time.monotonic() - self._looked > PAUSE:
            self._look(view)
        now = time.time()
        told = [f"{_named(one.offer)} starts, {words.duration(now - one.created)}" for one in self._machines]
        return "; ".join(told) or None

    def _look(self, view: RunView) -> None:
        self._looked = time.monotonic()
        try:
            found = [document.value for document in machines(view.store, view.run.name)]
        except DstackError:
            return
        self._machines = [one for one in found if one.status == "intent" and one.offer.price]


def _named(offer: Offer) -> str:
    """`t3.small in us-east-1a`."""
    return f"{offer.name} in {offer.place}" if offer.place else offer.name
