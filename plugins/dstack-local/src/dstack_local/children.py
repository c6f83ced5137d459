"""What a runner's jobs have started, found again and ended.

* The session of a job. Ended first, while its leader is not reaped yet, so that the number cannot be somebody else's.
* Daemons leave the session. The runner is therefore a *child subreaper* (Linux): whatever loses its parent becomes the
  runner's child, and one read of `/proc/self/task/.../children` shows that nothing is left, which costs 12 us where a
  search through `/proc` costs a millisecond on an idle machine. Every round kills and reaps what it finds, so that
  grandchildren surface in the next one.
* The mark `DSTACK_ATTEMPT=<label>` in the environment, which children inherit: tells whose such a child is, and finds
  what is left when the runner itself was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import Final

from dstack_core.executor import Task
from dstack_local import processes

ATTEMPT: Final = "DSTACK_ATTEMPT"
PATIENCE: Final = 10.0
"""Seconds for killed processes to be gone; more means that they hang in the kernel."""
TIDY: Final = 1.0
"""Seconds between looks for zombies."""
OTHERS: Final = 10.0
"""Seconds after which a zombie that may be somebody else's is nobody's: who waits for it had the time to notice."""


class Children:
    """What this process started as jobs, and which of its children are what such a job left behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[int] = set()
        self._markless: set[tuple[int, int]] = set()
        self._reaps: bool | None = None
        self._ending = 0
        self._tidied = 0.0
        self._zombies: dict[int, float] = {}

    def spawn(self, task: Task, argv: list[str], folder: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a job; raises OSError."""
        with self._lock:
            if self._reaps is None:
                self._reaps = processes.HAS_PROC and _become_subreaper()
            # No preexec_fn: with it, Python forks a copy of itself instead of using vfork.
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=task.stdout,
                stderr=task.stderr,
                start_new_session=True,
                umask=task.umask,
            )
            self._live.add(process.pid)
        return process

    def forget(self, pid: int) -> None:
        """Must be called before the job's main process is reaped: then its number can be another job's."""
        with self._lock:
            self._live.discard(pid)

    def end_left(self, session: int, label: str) -> None:
        """End what a job left behind. Its main process is reaped."""
        mark = f"{ATTEMPT}={label}"
        if not self._reaps:
            processes.end_family(mark, patience=PATIENCE)
            return
        with self._lock:
            self._ending += 1
        try:
            self._end_left(session, mark)
        finally:
            with self._lock:
                self._ending -= 1

    def tidy(self) -> None:
        """Reap what jobs that still run have left as zombies; looks once in `TIDY` seconds, however often called.

        A job that starts a daemon a second for a week would fill the process table otherwise.
        """
        with self._lock:
            now = time.monotonic()
            # While a job is ended its orphans must keep their numbers: see `_end_left`.
            if not self._reaps or self._ending or now - self._tidied < TIDY:
                return
            self._tidied = now
            before, self._zombies = self._zombies, {}
            for pid in _adopted():
                found = processes.status(pid)
                if pid in self._live or found is None or found.state != "Z" or found.session == os.getsid(0):
                    continue
                # What this process starts for itself stays in its session, or leads one of its own. Who is a member
                # of another was adopted for sure.
                since = before.get(pid, now)
                if found.session == pid and now - since < OTHERS:
                    self._zombies[pid] = since
                    continue
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _end_left(self, session: int, mark: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while left := self._left(session, mark):
            for pid in left:
                # Our own unreaped child: its number is its own.
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                _reap(pid, deadline)
            if time.monotonic() > deadline:
                return

    def _left(self, session: int, mark: str) -> list[int]:
        orphans = _adopted()
        if not orphans:
            return []
        # Taken after the look at the children: whatever was started before it is known by now.
        with self._lock:
            live = set(self._live)
        return [pid for pid in orphans if pid not in live and self._is_left(pid, session, mark, alone=not live)]

    def _is_left(self, pid: int, session: int, mark: str, alone: bool) -> bool:
        found = processes.status(pid)
        if found is None or found.session == os.getsid(0):
            return False
        if found.session == session:
            return True
        if found.state == "Z":
            return False
        if processes.has_mark(pid, mark):
            return True
        if (pid, found.start) not in self._markless and processes.is_unclear(pid):
            if processes.settled_mark(pid, mark):
                return True
            self._markless.add((pid, found.start))
        # Whatever a runner starts has the runner's mark. A child without any mark has cleared its environment, so it
        # is a job's. Whose is unknown while several run: the last of them ends it.
        return alone and "DSTACK_MACHINE" in os.environ and b"DSTACK_" not in processes.environment(pid)


def _adopted() -> list[int]:
    """The children of our main thread, which adopts whatever loses its parent."""
    me = os.getpid()
    with open(f"/proc/self/task/{me}/children", "rb") as file:
        return [int(pid) for pid in file.read().split()]


def _reap(pid: int, deadline: float) -> None:
    pause = 0.0002
    with suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, 0.02)


def _become_subreaper() -> bool:
    """Whether this process now adopts its orphaned descendants, and can list them."""
    try:
        import ctypes

        pr_set_child_subreaper = 36
        if ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
            return False
        _adopted()
    except (ImportError, OSError, AttributeError):
        return False
    return True
