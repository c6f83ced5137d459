"""Which process wrote something, and whether it is no more: said for sure, or not at all.

A process number alone names nobody: it is given again, and counts in one numbering of one boot of one machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """One process. `host` and `boot` are of its machine, `space` is its numbering (pid namespace); `start` is in clock
    ticks since boot, 0 where that cannot be known."""

    host: str
    boot: str
    space: str
    pid: int
    start: int


def this_process() -> Process:
    """The one that asks."""
    pid = os.getpid()
    return Process(_host(), _line("/proc/sys/kernel/random/boot_id"), _space(), pid, _start(pid) or 0)


def is_gone(process: Process) -> bool | None:
    """True: it has ended; False: it lives; None: that cannot be told from here."""
    if process.host != _host():
        return None
    if process.boot != _line("/proc/sys/kernel/random/boot_id"):
        return True  # this machine was started anew since
    if process.space != _space():
        return None
    if process.start:
        return _start(process.pid) != process.start
    with contextlib.suppress(PermissionError):  # another user's, but there
        try:
            os.kill(process.pid, 0)
        except ProcessLookupError:
            return True
    return False


def end(process: Process) -> bool:
    """SIGKILL exactly this process, which lives here; False when that cannot be done."""
    if not process.start or not hasattr(signal, "pidfd_send_signal"):
        return False
    try:
        held = os.pidfd_open(process.pid)
        try:
            if _start(process.pid) != process.start:  # now that it is held, the number cannot become another's
                return True
            signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True


def _host() -> str:
    # Copies of a virtual machine have one id; nobody gives them one name, too.
    return f"{os.uname().nodename} {_line('/etc/machine-id')}"


def _space() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _start(pid: int) -> int | None:
    """Its start in clock ticks; None when it has ended, also when nobody has taken note of its end yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _line(path: str) -> str:
    with contextlib.suppress(OSError), open(path) as file:
        return file.read().strip()
    return ""
