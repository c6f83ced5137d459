"""Runs functions in processes of their own, all at the same instant: for contests, and for processes to kill.

Functions and arguments travel by pickle, so they must live in importable modules.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

_CHILD = "from dstack_core.testing.contest import child; child()"


class Contestant:
    """A process that has imported what it needs and waits for `go`."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        self._send(pickle.dumps((function, args)))
        if self._line() != b"ready\n":
            raise RuntimeError("a contestant could not start; its own output says why")

    def go(self) -> None:
        """Let it call its function."""
        self._send(b"")

    def result(self) -> Any:
        """Wait for what the function returned; an exception that it raised is raised here."""
        assert self._process.stdout is not None
        outcome, value = pickle.loads(self._process.stdout.read())  # noqa: S301  from our own child
        self.close()
        if outcome == "raised":
            raise value
        return value

    def kill(self) -> None:
        """SIGKILL, at whatever instruction it is."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Free the pipes and wait for the end."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(len(data).to_bytes(8, "big") + data)
        self._process.stdin.flush()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def contend(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call `function` once for each item of `arguments`, each in its own process, all at once."""
    contestants = [Contestant(function, *args) for args in arguments]
    for contestant in contestants:
        contestant.go()
    return [contestant.result() for contestant in contestants]


def child() -> None:
    """What a contestant's process runs."""
    function, args = pickle.loads(_receive())  # noqa: S301  from our own parent
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    _receive()
    outcome: tuple[str, Any]
    try:
        outcome = ("returned", function(*args))
    except Exception as error:
        outcome = ("raised", RuntimeError(f"{type(error).__name__}: {error}"))
    sys.stdout.buffer.write(pickle.dumps(outcome))
    sys.stdout.buffer.flush()


def _receive() -> bytes:
    header = sys.stdin.buffer.read(8)
    if len(header) < 8:
        raise EOFError("the test that started this process has ended")
    return sys.stdin.buffer.read(int.from_bytes(header, "big"))
