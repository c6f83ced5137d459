"""A server that all workers of a test run share: the first that needs it starts it, the last one ends it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
_started: list[Server] = []
"""Shared servers that this process started; another may end them."""
Command = Callable[[Path, int], Sequence[str]]
"""The command line, of a folder and a free port."""


class Server:
    """A program in a session of its own, and a folder for its data. Both go when it is closed."""

    def __init__(self, name: str, command: Command, offsets: Sequence[int] = (0,)) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"dstack-{name}-"))
        self.port = free_port(offsets)
        log = self.folder / "log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command(self.folder, self.port), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
                # The mark: an executor under test takes a child of this process that has none for what a job left.
                env={**os.environ, "DSTACK_TEST_ENGINE": "1"},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_answer(self, ready: Callable[[int], bool]) -> None:
        """Until `ready(port)`."""
        deadline = time.monotonic() + PATIENCE
        while not ready(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                told = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.close()
                raise RuntimeError(f"it did not start:\n{told}")
            time.sleep(0.05)

    def close(self) -> None:
        """End it and remove what it had."""
        end_group(self.pid)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def end_group(leader: int) -> None:
    """End a server that another process of ours may have started, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)  # the data is of no use to anybody
    deadline = time.monotonic() + PATIENCE
    while _lives(leader) and time.monotonic() < deadline:
        time.sleep(0.02)


def free_port(offsets: Sequence[int]) -> int:
    """A port below the range that the system gives to clients; those at `offsets` from it are free, too."""
    for _ in range(200):
        port = 10_000 + int.from_bytes(os.urandom(2), "big") % 10_000
        if all(_is_free(port + offset) for offset in offsets):
            return port
    raise RuntimeError("no ports are free")


@contextlib.contextmanager
def shared(factory: pytest.TempPathFactory, name: str, start: Callable[[], Server]) -> Iterator[int]:
    """The port of the server `name` that all workers share."""
    base = factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with _locked(folder / f"{name}.json") as state:
        if not state.get("users"):
            server = start()
            _started.append(server)
            state.update(pid=server.pid, folder=str(server.folder), port=server.port, users=0)
        state["users"] += 1
        port = state["port"]
    try:
        yield port
    finally:
        with _locked(folder / f"{name}.json") as state:
            state["users"] -= 1
            if not state["users"]:
                end_group(state["pid"])
                shutil.rmtree(state["folder"], ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[dict[str, Any]]:
    """What the users of the server know together; written back at the end."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        state = json.loads(file.read() or "{}")
        yield state
        file.seek(0)
        file.truncate()
        file.write(json.dumps(state))


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _lives(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # only its parent can reap it
    cmdline = Path(f"/proc/{pid}/cmdline")
    return cmdline.exists() and bool(cmdline.read_bytes())
