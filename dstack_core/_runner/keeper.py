"""The parent of a runner: when the runner dies of anything but its own will, it is started again.

The new one finds what the old one left (jobs claimed by this very machine), ends it, and goes on. The keeper is
forked off before anything is imported, so it is small and has nothing that could fail.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

RESTARTS: Final = 3
PAUSE: Final = 0.1
"""Seconds before the first restart; four times as long before each that follows: what killed it may pass."""


def keep(run: Callable[[], int]) -> int:
    """Call `run` in a child process; again when the child is killed or crashes. Returns the last exit code.

    SIGTERM is passed on, and ends both.
    """
    children: list[int] = []
    told: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        told.append(number)
        if children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(children[-1], number)

    before = signal.signal(signal.SIGTERM, forward)  # before there is a child: no moment in which only one would end
    try:
        code = 128 + signal.SIGTERM
        for tried in range(1 + RESTARTS):
            time.sleep(PAUSE * 4 ** (tried - 1) if tried else 0)
            if told:
                break
            children[:] = [_fork(run, told)]
            if told:  # between the fork and the line above: the handler knew of no child
                os.kill(children[-1], signal.SIGTERM)
            code = _wait(children[-1])
            children.clear()
            if code == 0 or told:
                break
            print(f"dstack: the runner ended with {code}", file=sys.stderr, flush=True)  # noqa: T201  the machine's log
        return code
    finally:
        signal.signal(signal.SIGTERM, before)


def _fork(run: Callable[[], int], told: list[int]) -> int:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os._exit(128 + signal.SIGTERM if told else _guarded(run))
    return child


def _guarded(run: Callable[[], int]) -> int:
    try:
        return run()
    except BaseException as error:  # the child must never return into the keeper's code
        import traceback

        traceback.print_exc()
        with contextlib.suppress(Exception):
            _explain(error)
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _explain(error: BaseException) -> None:
    """In a line that is found again in what the machine leaves of its log."""
    from dstack_core._ledger.machines import CANNOT
    from dstack_core.errors import DstackError

    if isinstance(error, DstackError):
        print(f"dstack: {CANNOT}{error}", file=sys.stderr, flush=True)  # noqa: T201  the machine's log


def _wait(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code
