"""The backend `local`: this machine. A machine of it is one detached runner process.

A runner has the machine's id among its arguments, and in its environment as DSTACK_RUNNER and as DSTACK_MACHINE, from
its first instant: so it is found without any record of it. Jobs get DSTACK_MACHINE only, by which they are found and
ended when their machine is; whatever a job has among its arguments, it is no runner.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from dstack_core.backend import Backend, MachineState, Offers
from dstack_core.errors import CapacityError, InputError
from dstack_core.home import dstack_home
from dstack_core.models import Launch, Offer, Requirements
from dstack_local import host, pid_spaces, processes
from dstack_local.durable import locked, make_folders
from dstack_local.fit import best, reasons

NAME = "this machine"
GRACE = 30.0
"""Seconds that a runner gets to save what its jobs have made, before it is killed."""


class LocalBackend(Backend):
    """This machine, with everything that it has; or what its control group leaves of it.

    Setting `grace`: seconds between asking a runner to end and killing it, 30 by default.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._grace = float(settings.get("grace", GRACE))

    def offers(self, requirements: Requirements) -> Offers:
        """See `Backend.offers`: at most one."""
        cpu, memory = host.cpus(), host.memory()
        gpu = best(host.gpus(), requirements.gpu)
        lacks = reasons(requirements, cpu, memory, gpu)
        if lacks:
            return Offers((), (f"{NAME}: {'; '.join(lacks)}",))
        return Offers((Offer("local", NAME, cpu, memory, gpu),))

    def launch(self, offer: Offer, launch: Launch) -> str:
        """See `Backend.launch`."""
        home = str(dstack_home())
        folder = f"{home}/machines"
        make_folders(folder, home)
        log = f"{folder}/{launch.machine}.log"
        with locked(log):
            there = _runners(launch.machine)
            return _handle(there[0]) if there else _handle(_start(launch, log, home))

    def state(self, machine: str, handle: str | None) -> MachineState:
        """See `Backend.state`."""
        known = _parse(handle)
        if known:
            elsewhere = known.elsewhere(machine)
            if elsewhere:
                return elsewhere
            _reap([known.pid])
            if known.lives(machine):
                return "up"
        return "up" if _runners(machine) else "gone"

    def machines(self) -> Sequence[str]:
        """See `Backend.machines`: those started with this user's present dstack folder."""
        home = f"DSTACK_HOME={dstack_home()}"
        found: set[str] = set()
        for pid, arguments in processes.mine():
            if not processes.HAS_PROC:
                found.update(a for a in arguments if os.path.exists(f"{dstack_home()}/machines/{a}.log"))
                continue
            label = _label(pid)
            if label in arguments and processes.has_mark(pid, home):
                found.add(label)
        return sorted(found)

    def terminate(self, machine: str, handle: str | None) -> None:
        """See `Backend.terminate`: SIGTERM, the grace, SIGKILL for the runner and whatever it has started.

        Raises:
            InputError: the machine is another computer, or in another container, and cannot be reached from here.
        """
        known = _parse(handle)
        if known and known.elsewhere(machine) == "unknown":
            where = "in another container of this computer" if known.host == host.host_id() else "on another computer"
            raise InputError(f"machine {machine} runs {where}", hint="give this command there")
        runners = _runners(machine)
        # A keeper hands the signal on to its runner, which must not get it twice.
        asked = [pid for pid in runners if _parent(pid) not in runners]
        for pid in asked:
            processes.send(pid, signal.SIGTERM, lambda pid: pid in _runners(machine))
        if asked:
            _await_runners(runners, self._grace)
        processes.end_family(_mark(machine), lambda: _runners(machine))
        _reap(runners)
        _remove_if_empty(f"{dstack_home()}/machines/{machine}.log")


class _Handle(NamedTuple):
    """A process, named so that a later one with the same number is another, on this machine or any."""

    pid: int
    start: int
    boot: str
    pids: str
    host: str

    def elsewhere(self, machine: str) -> MachineState | None:
        """The state if it can be told without looking for the process."""
        if self.host != host.host_id():
            return "unknown"
        if self.boot != host.boot_id():
            return "gone"
        if self.pids == host.pid_space():
            return None
        return "gone" if pid_spaces.is_gone(self.pids) and not processes.marked(_mark(machine)) else "unknown"

    def lives(self, machine: str) -> bool:
        """Whether it is there and still that machine's runner."""
        found = processes.status(self.pid)
        there = found is not None and found.start == self.start and found.state not in "ZX"
        return there and processes.has_mark(self.pid, _runner_mark(machine))


def _handle(pid: int) -> str:
    found = processes.status(pid)
    start = found.start if found else 0
    return f"{pid}|{start}|{host.boot_id()}|{host.pid_space()}|{host.host_id()}"


def _parse(handle: str | None) -> _Handle | None:
    parts = (handle or "").split("|")
    if len(parts) != 5 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return _Handle(int(parts[0]), int(parts[1]), *parts[2:])


def _start(launch: Launch, log: str, home: str) -> int:
    import subprocess  # slow to import, and not for looking at what runs

    marks = {"DSTACK_MACHINE": launch.machine, "DSTACK_RUNNER": launch.machine, "DSTACK_HOME": home}
    env = {**os.environ, **launch.env, **marks}
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(output, 0o600)
        process = subprocess.Popen(
            launch.argv,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        raise CapacityError(f"cannot start {launch.argv[0]}: {error.strerror}") from error
    finally:
        os.close(output)
    # It outlives us on purpose; without this, Python warns when the object goes.
    process.returncode = 0
    # Popen returns a moment before the system shows the new program's arguments and environment.
    processes.settled_mark(process.pid, _runner_mark(launch.machine))
    return process.pid


def _mark(machine: str) -> str:
    """What everything that belongs to a machine has in its environment."""
    return f"DSTACK_MACHINE={machine}"


def _runner_mark(machine: str) -> str:
    """What only the runner has, its keeper, and programs that it runs for itself."""
    return f"DSTACK_RUNNER={machine}"


def _runners(machine: str) -> list[int]:
    """The runner of a machine and its keeper: its id is among their arguments, and the runner's mark."""
    found = [pid for pid, arguments in processes.mine() if machine in arguments]
    if not processes.HAS_PROC:
        return found
    return [pid for pid in found if processes.alive(pid) and processes.has_mark(pid, _runner_mark(machine))]


def _parent(pid: int) -> int:
    found = processes.status(pid)
    return found.parent if found else 0


def _await_runners(pids: Sequence[int], grace: float) -> None:
    deadline = time.monotonic() + grace
    pause = 0.002
    while time.monotonic() < deadline:
        _reap(pids)
        if not any(map(_exists, pids)):
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _reap(pids: Sequence[int]) -> None:
    """Let go of those that we started ourselves and that have ended."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _exists(pid: int) -> bool:
    if processes.HAS_PROC:
        return processes.alive(pid)
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _label(pid: int) -> str:
    found = re.search(rb"(?:\A|\0)DSTACK_RUNNER=([^\0]+)", processes.environment(pid))
    return os.fsdecode(found[1]) if found else ""


def _remove_if_empty(path: str) -> None:
    with suppress(OSError):
        if os.stat(path).st_size == 0:
            os.unlink(path)
