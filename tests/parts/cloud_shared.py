"""A server that all workers of a test run share: the first that needs it starts it, and it ends with the last.

Each user keeps a connection to it. When the last connection ends, also because its user was killed, so does the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 120.0


# --- the users' side ---


@contextlib.contextmanager
def shared(folder: Path, program: Path) -> Iterator[dict[str, Any]]:
    """What the server says of itself; all users name the same folder. `program` is called with a folder of its own."""
    with (folder / f"{program.stem}.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        about = json.loads(file.read() or "{}")
        hold = _join(about)
        if hold is None:
            about = _start(program)
            hold = _join(about)
            file.seek(0)
            file.truncate()
            file.write(json.dumps(about))
            file.flush()
    assert hold is not None, "the server ended at once"
    try:
        yield about
    finally:
        with hold:
            hold.sendall(b"bye\n")
            last = hold.recv(10) == b"last\n"
        if last:
            _wait_for_end(about["pid"])


def _start(program: Path) -> dict[str, Any]:
    # Not below pytest's folder: a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="dstack-cloud-"))
    with (folder / "log").open("wb") as log:
        # The mark: an executor under test takes a child of this process that has none for what a job left.
        process = subprocess.Popen(
            [sys.executable, program, folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, "DSTACK_TEST_CLOUD": "1"},
        )  # fmt: skip
    _children[process.pid] = process
    ready = folder / "ready.json"
    deadline = time.monotonic() + PATIENCE
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "log").read_text()[-4000:]
            shutil.rmtree(folder)
            raise RuntimeError(f"{program.name} did not start:\n{said}")
        time.sleep(0.02)
    return {"pid": process.pid, "folder": str(folder), **json.loads(ready.read_text())}


_children: dict[int, subprocess.Popen[bytes]] = {}


def _join(about: dict[str, Any]) -> socket.socket | None:
    """A connection to a server, if it lives and is not about to end."""
    if not about:
        return None
    hold = socket.socket(socket.AF_UNIX)
    try:
        hold.connect(f"{about['folder']}/hold")
        if hold.recv(10) == b"in\n":
            return hold
    except OSError:
        pass
    hold.close()
    return None


def _wait_for_end(pid: int) -> None:
    if pid in _children:
        _children[pid].wait(PATIENCE)
        return
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server {pid} does not end")
        time.sleep(0.05)


# --- the server's side ---


class Users:
    """Those who are connected to this server. Closed when the server ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._count = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "hold"))
        self._socket.listen()
        self._joined = threading.Event()
        self._left = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def announce(self, about: dict[str, Any]) -> None:
        """Say that the server is ready."""
        partial = self._folder / "ready.new"
        partial.write_text(json.dumps(about))
        partial.rename(self._folder / "ready.json")

    def wait(self) -> None:
        """Until the last one went; or none came, since whoever started the server was killed."""
        if self._joined.wait(PATIENCE):
            self._left.wait()

    def close(self) -> None:
        """The end of the server: its folder goes, also when no user is left who could remove it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            user, _ = self._socket.accept()
            with self._lock:
                if self._left.is_set():
                    user.close()
                    continue
                self._count += 1
                self._joined.set()
            threading.Thread(target=self._hold, args=(user,), daemon=True).start()

    def _hold(self, user: socket.socket) -> None:
        with contextlib.suppress(OSError), user:
            user.sendall(b"in\n")
            user.recv(10)
            with self._lock:
                self._count -= 1
                last = self._count == 0
                if last:
                    self._left.set()
            user.sendall(b"last\n" if last else b"more\n")
