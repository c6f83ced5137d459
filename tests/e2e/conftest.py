"""A project, a dstack folder, and the program `dstack` at work in them. Nothing that a test started may outlive it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pexpect
import psutil
import pytest
from browser import browser
from docker_engine import engine
from docker_images import busybox, conda_image, python_image
from docker_registry import registry
from dstack_local.store import FolderStore
from jupyter import jupyter, jupyter_image, jupyter_packages
from vscode import code_server

from dstack_core._content.logs import LogReader
from dstack_core._content.tree import restore_tree
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import machines
from dstack_core._ledger.records import JobRecord, MachineRecord
from dstack_core._ledger.runs import log_prefix
from dstack_core.testing.waiting import until

__all__ = [
    "browser",
    "busybox",
    "code_server",
    "conda_image",
    "engine",
    "jupyter",
    "jupyter_image",
    "jupyter_packages",
    "python_image",
    "registry",
]
DSTACK = str(Path(sys.executable).with_name("dstack"))
FAULTS = Path(__file__).with_name("faults")
PATIENCE = 60.0
"""Seconds until a condition that should come true has not; much more than it takes on a busy machine."""
LEAVING = 60.0
"""Seconds for a runner to leave: on a busy disk the removal of an environment of ten thousand files took it 7."""
T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """What a call of `dstack` came to."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Project:
    """A git repository with workflows, and a dstack folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.home = folder / "home"
        self.sync = folder / "sync"
        self.sync.mkdir()
        self.root.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSTACK_", "PYTEST_")) and k != "NO_COLOR"}
        self.env = {**kept, "DSTACK_HOME": str(self.home), "DSTACK_USER": "tester", "COLUMNS": "120"}
        self.env["DSTACK_DISABLED_PLUGINS"] = "notify"  # no notice on the developer's desktop for each run of a test
        self._started: list[subprocess.Popen[str]] = []
        self._terminals: list[pexpect.spawn[str]] = []
        subprocess.run(["git", "init", "-q", "-b", "main", self.root], check=True, env=self.env)

    # --- what is in it ---

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        target.chmod(mode)
        return target

    def workflows(self, text: str) -> None:
        """The entries under `workflows:`."""
        entries = textwrap.indent(textwrap.dedent(text).strip("\n"), "  ")
        self.write(".dstack/workflows.yaml", f"workflows:\n{entries}\n")

    # --- meeting points of jobs and test, outside of every checkout ---

    def gate(self, name: str) -> str:
        """Shell code that tells the test that it is there, and waits until the test opens the gate."""
        return f"touch {self.sync}/{name}.there; until [ -e {self.sync}/{name}.open ]; do sleep 0.02 || :; done"

    def reached(self, name: str) -> None:
        self.wait_for((self.sync / f"{name}.there").exists, f"a job to reach {name}")

    def open(self, name: str) -> None:
        (self.sync / f"{name}.open").touch()

    # --- the program ---

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
        """`dstack` with these arguments, its output in pipes, or `to` a file."""
        process = subprocess.Popen(
            [DSTACK, *arguments], cwd=options.pop("cwd", self.root), env={**self.env, **(env or {})}, text=True,
            stdin=subprocess.DEVNULL, stdout=options.pop("to", subprocess.PIPE), stderr=subprocess.PIPE, **options,
        )  # type: ignore[call-overload]  # fmt: skip
        self._started.append(process)
        return process

    def end(self, process: subprocess.Popen[str], expect: int | None = 0) -> Done:
        """Wait for it. `expect` None: any exit code will do."""
        out, err = process.communicate(timeout=2 * PATIENCE)
        done = Done(process.returncode, out or "", err or "")
        assert "Traceback" not in done.said, done.said
        assert expect in (None, done.code), f"{process.args} ended with {done.code}\n{done.said}\n{self.story()}"
        return done

    def dstack(self, *arguments: str, expect: int | None = 0, env: Mapping[str, str] | None = None,
               cwd: Path | None = None) -> Done:  # fmt: skip
        return self.end(self.start(*arguments, env=env, cwd=cwd or self.root), expect)

    def terminal(self, *arguments: str, env: Mapping[str, str] | None = None) -> pexpect.spawn[str]:
        """`dstack` on a terminal of its own."""
        child = pexpect.spawn(
            DSTACK, list(arguments), cwd=str(self.root), env={**self.env, "TERM": "xterm", **(env or {})},
            encoding="utf-8", timeout=PATIENCE, dimensions=(40, 120),
        )  # fmt: skip
        self._terminals.append(child)
        return child

    def faults(self, role: str, **settings: object) -> dict[str, str]:
        """Environment that makes processes of dstack fail as `faults/sitecustomize.py` says."""
        path = os.pathsep.join(filter(None, [str(FAULTS), self.env.get("PYTHONPATH")]))
        return {"PYTHONPATH": path, "FAULT_IN": role, **{f"FAULT_{k.upper()}": str(v) for k, v in settings.items()}}

    # --- what the store has ---

    @property
    def store(self) -> FolderStore:
        return FolderStore({"path": str(self.home / "store")})

    def runs(self) -> list[str]:
        """Names of all runs, the oldest first."""
        files = (self.home / "store" / "objects" / "runs").glob("*/run.json")
        names = [path.parent.name for path in files]
        return sorted(names, key=lambda name: self.view(name).run.submitted)

    def run(self) -> str:
        """Name of the newest run, as soon as there is one."""
        return self.wait_for(self.runs, "a run")[-1]

    def view(self, run: str | None = None) -> RunView:
        return RunView(self.store, run or self.run())

    def job(self, name: str, run: str | None = None) -> JobRecord | None:
        document = self.view(run).jobs.get(name)
        return document.value if document else None

    def statuses(self, run: str | None = None) -> dict[str, str]:
        return dict(self.view(run).progress.status)

    def machines(self, run: str | None = None) -> list[MachineRecord]:
        return [document.value for document in machines(self.store, run or self.run())]

    def log(self, job: str, attempt: int = 1, run: str | None = None) -> str:
        reader = LogReader(self.store, log_prefix(run or self.run(), job, attempt))
        data = b"".join(entry.data for entry in reader.read_all() if entry.stream in "oe")
        return data.decode("utf-8", "replace")

    def artifact(self, job: str, path: str, run: str | None = None) -> Path:
        """A restored copy of an artifact of a job."""
        found = {artifact.path: artifact for artifact in self.view(run).artifacts(job)}
        target = self.folder / "restored" / os.urandom(4).hex()
        target.parent.mkdir(exist_ok=True)
        restore_tree(self.store, found[path].tree, target)
        return target

    def finished(self, run: str | None = None) -> RunView:
        """The run, when it is finished. Only looks: repairs nothing."""
        name = run or self.run()
        return self.wait_for(lambda: (view := self.view(name)).finished and view, f"{name} to finish")

    # --- what goes on ---

    def wait_for(self, condition: Callable[[], T | bool | None], what: str, patience: float = PATIENCE) -> T:
        return until(condition, what, patience, pause=0.02, story=self.story)  # type: ignore[return-value]

    def processes(self) -> list[psutil.Process]:
        """Whatever lives because of this project: by its environment, its arguments, or the folder that it is in."""
        marks = [f"{self.folder}", *(f"DSTACK_MACHINE={name}" for name in self._machine_ids())]
        found = []
        for number in {*psutil.pids()} - {os.getpid()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                if _is_of(number, [os.fsencode(mark) for mark in marks]):
                    found.append(psutil.Process(number))
        return found

    def containers(self, host: str | None = None) -> list[str]:
        """Labels of what an engine has of this project's attempts, whatever their state."""
        address = ["-H", host] if host else []
        ask = ["docker", *address, "ps", "-a", "--format", '{{.Label "dstack.attempt"}}']
        listed = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
        return [label for label in listed if label.partition(".")[0] in self._machine_ids()]

    def with_argument(self, argument: str) -> list[psutil.Process]:
        """Those of `processes` that have this argument."""
        return [process for process in self.processes() if argument in _arguments(process)]

    def runner(self, machine: str | None = None) -> psutil.Process:
        """The runner of a machine; its parent is the keeper."""
        return self.wait_for(lambda: self._pair(machine)[1:], "a runner")[0]

    def keeper(self, machine: str | None = None) -> psutil.Process:
        return self._pair(machine)[0]

    def kill(self, *processes: psutil.Process) -> None:
        """SIGKILL, at once for all of them, so that none can see another die."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):  # a short helper of a shell, listed and gone
                    process.send_signal(number)

    def kill_all(self) -> None:
        """The machine is lost, with everything on it."""

        def dead() -> bool:
            # Again and again: a shell may have been about to start its program when the processes were listed.
            left = self.processes()
            self.kill(*left)
            return not left

        self.wait_for(dead, "everything to be dead")

    def story(self) -> str:
        """What happened, for the message of a failed assertion."""
        try:
            lines = [f"{name}: {self.view(name).status()} {self.statuses(name)}" for name in self.runs()]
        except Exception as error:
            lines = [f"the store cannot be read: {error!r}"]
        for log in sorted((self.home / "machines").glob("*.log")):
            lines.append(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")
        lines += [f"alive: {process.pid} {' '.join(_arguments(process))}" for process in self.processes()]
        return "\n".join(lines)

    def close(self) -> None:
        """End what is left; fails if there was anything that should have ended by itself."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for terminal in self._terminals:
            terminal.close(force=True)
        deadline = time.monotonic() + LEAVING
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        told = [f"{process.pid}: {' '.join(_arguments(process))}" for process in left]
        for process in left:
            process.kill()
        assert not told, "these processes outlived their test:\n" + "\n".join(told) + f"\n{self.story()}"

    def _machine_ids(self) -> list[str]:
        records = (self.home / "store" / "objects" / "machines").glob("*/*.json")
        return [json.loads(path.read_bytes())["id"] for path in records]

    def _pair(self, machine: str | None) -> list[psutil.Process]:
        """Keeper and runner, the runner only when it is there."""
        ids = [machine] if machine else self._machine_ids()
        found = [p for p in self.processes() if "dstack_core._runner" in _arguments(p) and {*ids} & {*_arguments(p)}]
        numbers = {process.pid for process in found}
        return sorted(found, key=lambda process: _parent(process) in numbers)


def _is_of(number: int, marks: list[bytes]) -> bool:
    """Read from /proc: psutil takes four times as long, and whoever waits for a process asks again and again."""
    folder = f"/proc/{number}"
    try:
        told = [os.readlink(os.fsencode(f"{folder}/cwd"))]
        for name in ("cmdline", "environ"):
            with open(f"{folder}/{name}", "rb") as file:
                told.append(file.read())
    except OSError:  # it is gone, if only a zombie is left
        return False
    return any(mark in text for mark in marks for text in told)


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0


@pytest.fixture(scope="session")
def _warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first job on a machine unpacks, once for all tests."""
    project = Project(tmp_path_factory.mktemp("warm"))
    project.dstack("run", "bash", "-c", "true")
    project.close()
    return project.home / "cache"


@pytest.fixture
def cold_project(tmp_path: Path) -> Iterator[Project]:
    """A project whose dstack folder does not exist yet."""
    project = Project(tmp_path)
    yield project
    project.close()


@pytest.fixture
def project(cold_project: Project, _warm: Path) -> Project:
    """A project, and a dstack folder that has unpacked pip already."""
    (cold_project.home / "cache").mkdir(parents=True, mode=0o700)
    cold_project.home.chmod(0o700)
    for unpacked in _warm.glob("pip-*"):
        (cold_project.home / "cache" / unpacked.name).symlink_to(unpacked)
    return cold_project
