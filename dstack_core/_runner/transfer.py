"""How far a job's downloads or uploads have come, told now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PAUSE: Final = 0.5
"""Seconds before the first report, and between two: a short transfer costs no record."""


class Transfer:
    """Adds up several transfers that follow one another. `report` gets bytes done, and bytes in all as far as known.

    `total` is what is known beforehand: of the transfers that `next` is asked for with `known`.
    """

    def __init__(self, report: Callable[[int, int], None], total: int = 0) -> None:
        self._report = report
        self._total = total
        self._before = 0
        self._size = 0
        self._last = time.monotonic()

    def next(self, *, known: bool = False) -> Callable[[int, int], None]:
        """The progress callback for the next of the transfers."""
        self._before += self._size
        self._size = 0

        def progress(done: int, size: int) -> None:
            if self._size != size:
                self._total += 0 if known else size - self._size
                self._size = size
            self._tell(self._before + done)

        return progress

    def _tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last >= PAUSE:
            self._last = now
            self._report(done, max(self._total, done))
