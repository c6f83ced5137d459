"""The executor `process`: a job is a process in a session of its own, with a folder and a Python environment.

How everything that a job started is found again: see `children`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dstack_core.errors import JobError
from dstack_core.executor import Execution, Executor, Inside, Task
from dstack_core.home import dstack_home
from dstack_core.models import JobSpec
from dstack_local import interpreter, processes
from dstack_local.children import ATTEMPT, PATIENCE, Children
from dstack_local.environment import job_environment
from dstack_local.spare import SpareEnvironments

_CAN_PEEK = hasattr(os, "waitid") and hasattr(os, "WNOWAIT")


class ProcessExecutor(Executor):
    """Runs jobs as processes of this machine. Needs nothing but Python; takes no settings.

    `cpu` and `memory` of a job are not enforced: they only decide how many jobs run side by side.
    """

    in_place = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._interpreters: dict[str | None, interpreter.Interpreter] = {}
        self._children = Children()
        self._spare = SpareEnvironments()

    def start(self, task: Task) -> Execution:
        """See `Executor.start`."""
        folder = os.path.normpath(os.path.join(task.root, task.working_dir))
        if not os.path.isdir(folder):
            raise JobError(
                f"working_dir {task.working_dir!r} is no folder of the repository",
                hint="make it, add a file to it (git keeps no empty folders), or correct `working_dir:`",
            )
        if task.places:
            raise JobError(
                f"it needs {next(iter(task.places))}, which is outside the checkout",
                hint="run it with an executor that runs containers",
            )
        argv = [*task.argv, str(task.script)] if task.script else list(task.argv)
        python = self._interpreter(task.python)
        try:
            env = self._environment(task, python)
        except OSError as error:
            raise JobError(
                f"cannot make the job's environment: {error.strerror}",
                hint="is the disk full?",
                where=str(task.scratch),
            ) from error
        try:
            process = self._children.spawn(task, argv, folder, env)
            return ProcessExecution(process, task.label, self._children, lambda: self._give_back(task, python))
        except FileNotFoundError as error:
            raise JobError(f"cannot start {argv[0]}: not found", hint=f"is {argv[0]} on the PATH?") from error
        except (OSError, ValueError) as error:
            raise JobError(f"cannot start {argv[0]}: {getattr(error, 'strerror', None) or error}") from error

    def refuses(self, spec: JobSpec) -> str | None:
        """Images, and artifacts outside the checkout: both need a container."""
        if spec.image is not None:
            return f"it asks for the image {spec.image}, and the executor process runs no containers"
        if spec.python is not None:
            try:
                self._interpreter(spec.python)
            except JobError as error:
                return f"{error} ({error.hint})"
        outside = [artifact.path for artifact in spec.artifacts if artifact.path.startswith("/")]
        if outside:
            return f"its artifact {outside[0]} is outside the checkout, which the executor process cannot give it"
        return None

    def sweep(self, label: str) -> int:
        """See `Executor.sweep`."""
        return processes.end_family(f"{ATTEMPT}={label}")

    def inside(self, label: str, command: Sequence[str], *, terminal: bool) -> Inside:
        """See `SupportsShell.inside`. It has the caller's terminal anyway."""
        from dstack_local.inside import inside  # no runner asks

        return inside(label, command)

    def _environment(self, task: Task, python: interpreter.Interpreter) -> dict[str, str]:
        tmp = f"{task.scratch}/tmp"  # noqa: S108
        os.makedirs(tmp, 0o700, exist_ok=True)
        self._spare.take(_python_of(task), python)
        env = job_environment(os.environ, _python_of(task), tmp)
        if task.gpus is not None:
            env["CUDA_VISIBLE_DEVICES"] = _gpu_ids(task.gpus, env.get("CUDA_VISIBLE_DEVICES"))
            env.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        env["DSTACK_CACHE"] = _cache()
        env.update(task.env)
        env[ATTEMPT] = task.label
        return env

    def _give_back(self, task: Task, python: interpreter.Interpreter) -> None:
        if task.spare is not None:
            self._spare.give_back(_python_of(task), python, task.spare)

    def _interpreter(self, wanted: str | None) -> interpreter.Interpreter:
        with self._lock:
            if wanted not in self._interpreters:
                self._interpreters[wanted] = interpreter.find(wanted)
            return self._interpreters[wanted]


class ProcessExecution(Execution):
    """A started process and whatever it starts. `ended` is called when all of it has ended."""

    def __init__(
        self, process: subprocess.Popen[bytes], label: str, children: Children, ended: Callable[[], None]
    ) -> None:
        self._process = process
        self._label = label
        self._children = children
        self._ended = ended
        self._lock = threading.Lock()
        self._code: int | None = None
        self._closed = False

    def wait(self, timeout: float | None = None) -> int | None:
        """See `Execution.wait`. The process is not reaped yet, so that `close` can end its session safely."""
        if self._code is not None:
            return self._code
        self._children.tidy()
        if not _CAN_PEEK:
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(timeout)
                self._code = code if code >= 0 else 128 - code
            return self._code
        if timeout is None:
            self._peek(0)
        elif self._peek(os.WNOHANG) is None and self._await_exit(timeout):
            self._peek(os.WNOHANG)
        return self._code

    def stop(self) -> None:
        """See `Execution.stop`."""
        with self._lock:
            if self._closed:
                return
            pid = self._process.pid
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGTERM)
                os.killpg(pid, signal.SIGCONT)
            for other in processes.family(f"{ATTEMPT}={self._label}"):
                found = processes.status(other)
                if found and found.group != pid:
                    _ask_to_end(other, found.start)

    def close(self) -> None:
        """See `Execution.close`: SIGKILL, at once. Who wants to end in good order gets `stop` before."""
        with self._lock:
            if self._closed:
                return
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            if self.wait(PATIENCE) is not None:
                self._children.forget(self._process.pid)
                self._process.wait()
            self._children.end_left(self._process.pid, self._label)
            self._closed = True
            self._ended()

    def _peek(self, flags: int) -> int | None:
        """Look for the exit code without reaping."""
        result = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | flags)
        if result is not None:
            exited = result.si_code == os.CLD_EXITED
            self._code = result.si_status if exited else 128 + result.si_status
        return self._code

    def _await_exit(self, timeout: float) -> bool:
        try:
            handle = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):
            return self._poll_exit(timeout)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(max(0.0, timeout) * 1000))
        finally:
            os.close(handle)

    def _poll_exit(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        pause = 0.001
        while time.monotonic() < deadline:
            time.sleep(min(pause, 0.05))
            pause *= 2
            if self._peek(os.WNOHANG) is not None:
                return True
        return False


def _python_of(task: Task) -> str:
    """The Python environment of an attempt."""
    return f"{task.scratch}/env"


def _cache() -> str:
    folder = dstack_home() / "cache" / "jobs"
    os.makedirs(folder, 0o700, exist_ok=True)
    os.utime(folder)  # `dstack gc` frees caches that nobody has used for long
    return str(folder)


def _gpu_ids(indices: tuple[int, ...], visible: str | None) -> str:
    """The GPUs with these indices among those that the caller may see itself."""
    ids = visible.split(",") if visible else None
    return ",".join(ids[i].strip() if ids and i < len(ids) else str(i) for i in indices)


def _ask_to_end(pid: int, start: int) -> None:
    def same(pid: int) -> bool:
        found = processes.status(pid)
        return found is not None and found.start == start

    if processes.send(pid, signal.SIGTERM, same):
        processes.send(pid, signal.SIGCONT, same)
