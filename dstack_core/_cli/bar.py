"""A bar for a transfer that takes longer than a moment."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress

APPEARS_AFTER: Final = 0.5
"""Seconds before the bar appears."""


@contextlib.contextmanager
def transfer_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Gives the callback that `save_tree` and its like want: bytes done, bytes in all. Shows nothing off a terminal."""
    bar = _Bar(label)
    try:
        yield bar.show if sys.stderr.isatty() else _nothing
    finally:
        bar.close()


@contextlib.contextmanager
def spinner(label: str) -> Iterator[None]:
    """Shows that something takes its time. Nothing off a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(label):
        yield


def _nothing(done: int, total: int) -> None:
    """No terminal, no bar."""


class _Bar:
    def __init__(self, label: str) -> None:
        self._label = label
        self._started = time.monotonic()
        self._progress: Progress | None = None

    def show(self, done: int, total: int) -> None:
        if self._progress is None:
            if time.monotonic() - self._started < APPEARS_AFTER:
                return
            self._progress = self._start()
        self._progress.update(self._progress.task_ids[0], completed=done, total=total)

    def close(self) -> None:
        if self._progress:
            self._progress.stop()

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.add_task(self._label)
        progress.start()
        return progress
