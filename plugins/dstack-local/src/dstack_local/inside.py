"""A way into a running job: its environment and its folder, as the kernel knows them of its first process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dstack_core.errors import JobError
from dstack_core.executor import Inside
from dstack_local import processes
from dstack_local.children import ATTEMPT

LOOKS: Final = ("TERM", "COLORTERM", "COLUMNS", "LINES")
"""What a program must know of the terminal that it is shown on: the caller's."""


def inside(label: str, command: Sequence[str]) -> Inside:
    """See `SupportsShell.inside`. What is started so has the attempt's mark, and is ended with it. Raises JobError."""
    if not processes.HAS_PROC:
        raise JobError("there is no way into running jobs on this system", hint="it needs /proc, as Linux has it")
    first = _first_process(f"{ATTEMPT}={label}")
    try:
        folder = Path(os.readlink(f"/proc/{first}/cwd"))
    except OSError:
        raise _ended() from None
    env = {name: value for name, value in _environment(first).items() if name not in LOOKS}
    env.update((name, os.environ[name]) for name in LOOKS if name in os.environ)
    shell = shutil.which("bash", path=env.get("PATH")) or "/bin/sh"
    return Inside(tuple(command) or (shell,), folder, env)


def _first_process(mark: str) -> int:
    """The job's own: the oldest of those that lead a session."""
    started = []
    for pid in processes.marked(mark):
        found = processes.status(pid)
        if found and found.session == pid and found.state not in "ZX":
            started.append((found.start, pid))
    if not started:
        raise _ended()
    return min(started)[1]


def _environment(pid: int) -> Mapping[str, str]:
    pairs = (entry.partition("=") for entry in os.fsdecode(processes.environment(pid)).split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def _ended() -> JobError:
    return JobError("it does not run on this machine, or has just ended")
