"""A Docker engine for tests: the one that runs, else a private one.

A private engine has its own data, socket, bridge and containerd, so that it disturbs no other engine on the machine.
All workers of a test run share one: the first that needs it starts it, the last one ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOCKET = "unix:///var/run/docker.sock"
PATIENCE = 60.0


_started: list[Engine] = []
"""Shared engines that this process started; another may end them."""


class Engine:
    """A private dockerd, started in a folder of its own. Its programs and data go when it is closed."""

    def __init__(self, folder: Path, path: str = "") -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self._path = path
        self._bridge = f"dstk{os.urandom(4).hex()}"
        self._process: subprocess.Popen[bytes] | None = None
        _make_bridge(self._bridge)
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            "dockerd", "--storage-driver=overlay2", "--iptables=false", f"--bridge={self._bridge}",
            f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid",
            f"--host={self.host}", f"--containerd-namespace={self._bridge}", f"--config-file={self.folder}/config",
        ]  # fmt: skip
        (self.folder / "config").write_text("{}")  # not the machine's own
        with (self.folder / "log").open("ab") as log:
            # The mark: an executor under test takes a child of this process that has none for what a job left.
            environ = {**os.environ, "PATH": f"{self._path}:{os.environ['PATH']}", "DSTACK_TEST_ENGINE": "1"}
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environ
            )
        deadline = time.monotonic() + PATIENCE
        while not answers(self.host):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; `start` brings it back with what it had. SIGKILL: and its containerd, as systemd would."""
        assert self._process is not None
        helpers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        if number == signal.SIGKILL:
            for helper in helpers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(helper), signal.SIGKILL)
            for left in (self.folder / "exec" / "containerd").glob("containerd*.[ps]*"):
                left.unlink()  # its number may be taken for a process that lives

    def close(self) -> None:
        """End it and remove what it had."""
        assert self._process is not None
        if self._process.poll() is None:
            self.stop()
        close_engine(self.pid, self.folder, self._bridge)

    def details(self) -> dict[str, Any]:
        return {"host": self.host, "pid": self.pid, "folder": str(self.folder), "bridge": self._bridge}


def close_engine(pid: int, folder: Path, bridge: str) -> None:
    """End an engine that another process of ours may have started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in Path("/proc").glob("[0-9]*"):  # what keeps containers alive while their engine is away
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    for mount in sorted(_mounts_below(folder), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)


def answers(host: str) -> bool:
    done = subprocess.run(["docker", "-H", host, "version"], capture_output=True, check=False)
    return done.returncode == 0


def missing_programs() -> list[str]:
    """What a private engine cannot do without."""
    lacking = [program for program in ("dockerd", "docker", "iptables", "ip", "busybox") if not which(program)]
    return lacking if os.geteuid() == 0 else [*lacking, "a Docker engine that answers (only root can start one)"]


@contextlib.contextmanager
def shared_engine(folder: Path) -> Iterator[str]:
    """The address of the engine that all users of `folder` share."""
    there = os.environ.get("DOCKER_HOST") or SOCKET
    if which("docker") and answers(there):
        yield there
        return
    if lacking := missing_programs():
        pytest.skip(f"needs {', '.join(lacking)}")
    with _locked(folder) as state:
        if not state.get("users"):
            # Not below pytest's folder: a socket's path has to be short.
            started = Engine(Path(tempfile.mkdtemp(prefix="dstack-engine-")))
            _started.append(started)
            state.update(started.details())
        state["users"] = state.get("users", 0) + 1
        host = state["host"]
    try:
        yield host
    finally:
        with _locked(folder) as state:
            state["users"] -= 1
            if not state["users"]:
                close_engine(state["pid"], Path(state["folder"]), state["bridge"])


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an engine, which DOCKER_HOST names during the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with shared_engine(shared) as host, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", host)
        yield host


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[dict[str, Any]]:
    """What the users of the engine know together; written back at the end."""
    with (folder / "docker-engine.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        state = json.loads(file.read() or "{}")
        yield state
        file.seek(0)
        file.truncate()
        file.write(json.dumps(state))


def _make_bridge(name: str) -> None:
    """A network that no other engine uses, and whose removal disturbs none."""
    for _ in range(20):
        subnet = f"10.{random.randint(128, 250)}.{random.randint(0, 255)}.1/24"
        if not _has_route(subnet):
            break
    for command in (["add", name, "type", "bridge"], ["set", name, "up"]):
        subprocess.run(["ip", "link", *command], check=True, capture_output=True)
    subprocess.run(["ip", "address", "add", subnet, "dev", name], check=True, capture_output=True)


def _has_route(subnet: str) -> bool:
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    return subnet.rpartition(".")[0] in routes


def _lives(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # only its parent can reap it; for the others it is gone then
    return Path(f"/proc/{pid}/cmdline").exists() and bool(Path(f"/proc/{pid}/cmdline").read_bytes())


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(str(folder))]


def which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
