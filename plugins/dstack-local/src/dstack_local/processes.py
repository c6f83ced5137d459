"""Processes of this machine: which of them carry a mark, and ending exactly those.

What dstack starts carries a mark in its environment or its arguments. A process number alone proves nothing: it may
be somebody else's by now. So a mark is looked at again when the process is already held (pidfd), then it is signalled.

All of this reads `/proc`. Where there is none (macOS), processes are found by `ps`, and only by their arguments.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

HAS_PROC = os.path.exists("/proc/self/stat")
_KERNEL_THREAD = 0x00200000
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


class Status(NamedTuple):
    """A line of `/proc/<pid>/stat`. `start` is in clock ticks since boot: with the pid it names a process for good."""

    state: str
    parent: int
    group: int
    session: int
    start: int
    kernel: bool


def status(pid: int) -> Status | None:
    """How a process is, None if it is gone (a zombie is still there, with state `Z`)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, spaces and parentheses included.
            fields = file.read().rpartition(b") ")[2].split()
    except _GONE:
        return None
    numbers = [int(field) for field in fields[1:20]]
    kernel = bool(numbers[5] & _KERNEL_THREAD)
    return Status(fields[0].decode(), numbers[0], numbers[1], numbers[2], numbers[18], kernel)


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    found = status(pid)
    return found is not None and found.state not in "ZX"


def has_mark(pid: int, mark: str) -> bool:
    """Whether `mark`, a `NAME=VALUE`, is in the environment that the process was started with."""
    return b"\0" + os.fsencode(mark) + b"\0" in b"\0" + environment(pid)


def environment(pid: int) -> bytes:
    """The environment that the process was started with, NUL-terminated; empty if that cannot be read."""
    return _bytes_of(f"/proc/{pid}/environ")


def all_processes() -> list[int]:
    """The process numbers of this machine, but not our own."""
    me = os.getpid()
    return [pid for name in os.listdir("/proc") if name.isdigit() and (pid := int(name)) != me]


def marked(mark: str) -> list[int]:
    """The processes whose environment has `mark`."""
    if not HAS_PROC:
        return []
    found, unclear = [], []
    for pid in all_processes():
        if has_mark(pid, mark):
            found.append(pid)
        elif is_unclear(pid):
            unclear.append(pid)
    return found + [pid for pid in unclear if settled_mark(pid, mark)]


def is_unclear(pid: int) -> bool:
    """Whether a living process shows no environment: for some microseconds of an `execve` it has none."""
    if environment(pid):
        return False
    found = status(pid)
    return found is not None and found.state not in "ZX" and not found.kernel and _owner(pid) == os.geteuid()


def settled_mark(pid: int, mark: str) -> bool:
    """`has_mark` of a process that is `is_unclear`, after a little time to become clear."""
    deadline = time.monotonic() + 0.02
    while is_unclear(pid) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return has_mark(pid, mark)


def family(mark: str) -> list[int]:
    """The processes that carry `mark`, and those of their sessions that do not (some overwrite their environment).

    Only of sessions that are dstack's: whoever starts a marked process by hand keeps his terminal.
    """
    found = set(marked(mark))
    sessions = {s.session for pid in found if (s := status(pid))}
    ours = {session for session in sessions if session in found or not alive(session)}
    if ours:
        found.update(pid for pid in all_processes() if (s := status(pid)) and s.session in ours and s.state != "Z")
    return sorted(found)


def mine() -> list[tuple[int, list[str]]]:
    """This user's processes with their arguments."""
    if not HAS_PROC:
        return _ps()
    me = os.geteuid()
    found = []
    for pid in all_processes():
        line = _bytes_of(f"/proc/{pid}/cmdline")
        if line and _owner(pid) == me:
            found.append((pid, os.fsdecode(line).split("\0")))
    return found


def send(pid: int, number: int, still: Callable[[int], bool]) -> bool:
    """Signal a process if it is `still` the one that is meant; whether it was signalled.

    With a pidfd in hand the number cannot change its owner between the look and the signal.
    """
    try:
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
    except ProcessLookupError:
        return False
    except OSError:
        handle = -1
    try:
        if not still(pid):
            return False
        if handle >= 0 and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True


def end_all(find: Callable[[], Iterable[int]], still: Callable[[int], bool], patience: float = 10.0) -> int:
    """Kill what `find` finds until it finds nothing; the number of processes killed.

    Looks again because a process may have forked between look and signal. Gives up after `patience` seconds: what
    is still there then cannot be killed (it hangs in the kernel, or belongs to somebody else).
    """
    deadline = time.monotonic() + patience
    killed: set[int] = set()
    while True:
        found = [pid for pid in find() if alive(pid) or not HAS_PROC]
        if not found or time.monotonic() > deadline:
            return len(killed)
        killed.update(pid for pid in found if send(pid, signal.SIGKILL, still))
        await_end(found, 0.1)


def end_family(mark: str, more: Callable[[], Iterable[int]] = tuple, patience: float = 10.0) -> int:
    """Kill the `family` of `mark`, and what `more` finds, as `end_all` does."""
    starts: dict[int, int] = {}

    def find() -> Iterable[int]:
        found = {*family(mark), *more()}
        starts.update((pid, s.start) for pid in found if (s := status(pid)))
        return found

    def still(pid: int) -> bool:
        if not HAS_PROC or has_mark(pid, mark):
            return True
        now = status(pid)
        return now is not None and now.start == starts.get(pid)

    return end_all(find, still, patience)


def await_end(pids: Iterable[int], seconds: float) -> None:
    """Wait until none of `pids` is alive, `seconds` at most."""
    deadline = time.monotonic() + seconds
    left = list(pids)
    while (left := [pid for pid in left if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.002)


def _bytes_of(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        pieces = []
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def _ps() -> list[tuple[int, list[str]]]:
    import subprocess

    listing = subprocess.run(
        ["ps", "-xww", "-o", "pid=,command="], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    rows = (line.split() for line in listing.stdout.splitlines())
    return [(int(row[0]), row[1:]) for row in rows if row and row[0].isdigit() and int(row[0]) != os.getpid()]
