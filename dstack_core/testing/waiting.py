"""Waiting for what happens in another process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    what: str,
    seconds: float = 20.0,
    *,
    story: Callable[[], str] | None = None,
    pause: float = 0.005,
) -> T:
    """What `condition()` returns as soon as that is true; fail the test when it is not within `seconds`.

    `what`: "it was removed", for the message; `story`: what to tell beside it; `pause`: seconds between two looks.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            told = f"\n{story()}" if story else ""
            pytest.fail(f"waited {seconds:g} s in vain: {what}{told}", pytrace=False)
        time.sleep(pause)
    return found
