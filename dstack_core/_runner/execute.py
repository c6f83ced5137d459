"""One job's commands, from start to exit: output into the log, and an eye on the clock and on what is desired."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dstack_core._engine.outcome import WISHES, Ending
from dstack_core._runner.output import Output
from dstack_core.executor import Execution

GRACE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL; Docker's default for `docker stop`."""
LOOK: Final = 0.05
"""Seconds between looks at what is desired. Output is moved at once, whatever this is."""


@dataclass(frozen=True)
class Watch:
    """What happens beside waiting.

    Attributes:
        desired: None, `stop`, `abort` or `interrupt`.
        stopping: called once, when the job was asked to end.
        look: called at each look, with the seconds since the start.
        max_duration: seconds, None: no limit.
    """

    desired: Callable[[], str | None]
    stopping: Callable[[str], None]
    look: Callable[[float], None]
    max_duration: float | None


def watch(execution: Execution, output: Output, do: Watch) -> Ending:
    """Wait for the end of the job, asking for it when it is desired. Everything that it started has ended, too."""
    started = time.monotonic()
    asked: Ending | None = None
    patience = 0.0
    try:
        while True:
            came = output.pump(LOOK) if output.ready else False
            code = execution.wait(0 if came or output.ready else LOOK)
            if code is not None:
                break
            passed = time.monotonic() - started
            do.look(passed)
            wanted = _wanted(do, passed)
            if wanted and (asked is None or wanted.status == "aborted" != asked.status):
                asked = wanted
                if wanted.status != "aborted":
                    execution.stop()
                    patience = passed + GRACE
                do.stopping(wanted.status)
            if asked and (asked.status == "aborted" or passed > patience):
                execution.close()
    finally:
        execution.close()
    output.close()
    return asked or _by_exit_code(code, execution.cause())


def _wanted(do: Watch, passed: float) -> Ending | None:
    desired = do.desired()
    if desired:
        return WISHES[desired]
    if do.max_duration is not None and passed > do.max_duration:
        return Ending("failed", reason=f"it ran longer than max_duration ({do.max_duration:g} s)")
    return None


def _by_exit_code(code: int, cause: str | None) -> Ending:
    if code == 0:
        return Ending("done", 0)
    why = cause or f"exit code {code}"
    if code > 128 and not cause:
        why += f" (signal {code - 128}{', perhaps out of memory' if code == 137 else ''})"
    return Ending("failed", code, why)
