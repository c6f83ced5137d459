"""Ctrl+C that waits for a good moment."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def deferred(*, impatient: bool = False) -> Iterator[list[bool]]:
    """Ctrl+C waits until the block is done; the list is not empty if it came.

    `impatient`: the second one does not wait, for a block that may hang: it raises KeyboardInterrupt.
    """
    came: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came and impatient:
            raise KeyboardInterrupt
        came.append(True)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)
