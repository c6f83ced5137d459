"""The local backend beyond the contract: strangers with the same number, other machines, logs, what jobs leave."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dstack_local import pid_spaces, processes
from dstack_local.backend import LocalBackend

from dstack_core.errors import CapacityError, InputError
from dstack_core.models import Launch, Offer, Requirements
from dstack_core.testing.waiting import until

OFFER = Offer("local", "this machine", 1, 1)
RUNNER = """
import subprocess, sys, time
subprocess.Popen(["sleep", "600"], start_new_session=True)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


@pytest.fixture
def backend() -> LocalBackend:
    return LocalBackend({"grace": 0.3})


@pytest.fixture
def machine(backend: LocalBackend) -> Iterator[str]:
    machine = f"machine-{os.urandom(6).hex()}"
    yield machine
    backend.terminate(machine, None)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def launch(backend: LocalBackend, machine: str, *argv: str) -> str:
    return backend.launch(OFFER, Launch(machine, "run-1", (*argv, machine), {"EXTRA": "yes"}))


JOB = """
import os, subprocess, sys, time
env = {name: value for name, value in os.environ.items() if name != "DSTACK_RUNNER"}
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]], env=env, start_new_session=True)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


def test_a_job_that_names_its_machine_is_not_its_runner(backend: LocalBackend, machine: str, tmp_path: Path) -> None:
    handle = launch(backend, machine, sys.executable, "-c", JOB, str(tmp_path / "ready"))
    until((tmp_path / "ready").exists, "the job was started")
    assert machine in backend.machines()
    os.kill(int(handle.split("|")[0]), 9)
    until(lambda: backend.state(machine, handle) == "gone", "the machine was gone")
    assert backend.state(machine, None) == "gone"
    assert machine not in backend.machines()
    assert processes.marked(f"DSTACK_MACHINE={machine}")
    backend.terminate(machine, handle)
    assert not processes.marked(f"DSTACK_MACHINE={machine}")


def field(handle: str, number: int, value: str) -> str:
    parts = handle.split("|")
    parts[number] = value
    return "|".join(parts)


def test_a_stranger_with_the_number_of_a_machine_is_left_alone(
    backend: LocalBackend, machine: str, stranger: subprocess.Popen[bytes]
) -> None:
    handle = launch(backend, machine, "true")
    until(lambda: backend.state(machine, handle) == "gone", "the machine was gone")
    reused = field(handle, 0, str(stranger.pid))
    assert backend.state(machine, reused) == "gone"
    backend.terminate(machine, reused)
    assert stranger.poll() is None


def test_a_stranger_who_names_the_machine_is_left_alone(backend: LocalBackend, machine: str) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", machine])
    assert backend.state(machine, None) == "gone"
    assert machine not in backend.machines()
    backend.terminate(machine, None)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_number_is_looked_at_again_before_the_signal(stranger: subprocess.Popen[bytes]) -> None:
    assert not processes.send(stranger.pid, 9, lambda pid: processes.has_mark(pid, "DSTACK_MACHINE=x"))
    assert stranger.poll() is None
    assert processes.send(stranger.pid, 9, lambda pid: pid == stranger.pid)
    assert stranger.wait() == -9
    assert not processes.send(stranger.pid, 9, lambda _: True)


def test_another_boot_of_this_machine_left_nothing(backend: LocalBackend, machine: str) -> None:
    handle = launch(backend, machine, "sh", "-c", "sleep 600; exit")
    assert backend.state(machine, field(handle, 2, "another-boot")) == "gone"


def test_another_machine_cannot_be_told_of(backend: LocalBackend, machine: str) -> None:
    handle = launch(backend, machine, "sh", "-c", "sleep 600; exit")
    for number, where in ((3, "in another container"), (4, "on another computer")):
        elsewhere = field(handle, number, "elsewhere")
        assert backend.state(machine, elsewhere) == "unknown"
        with pytest.raises(InputError, match=where):
            backend.terminate(machine, elsewhere)
    assert backend.state(machine, handle) == "up"


def test_a_container_that_is_no_more_took_its_machine_with_it(
    backend: LocalBackend, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    monkeypatch.setattr(pid_spaces, "is_gone", lambda space: space in gone)
    handle = launch(backend, machine, "sh", "-c", "sleep 600; exit")
    inside = field(handle, 3, "pid:[7]")
    gone.append("pid:[7]")
    assert backend.state(machine, inside) == "unknown", "something of the machine is here"
    backend.terminate(machine, handle)
    assert backend.state(machine, inside) == "gone"
    backend.terminate(machine, inside)
    gone.clear()
    assert backend.state(machine, inside) == "unknown"


def test_what_a_killed_runner_leaves_ends_with_the_machine(backend: LocalBackend, machine: str, tmp_path: Path) -> None:
    handle = launch(backend, machine, sys.executable, "-c", RUNNER, str(tmp_path / "ready"))
    until((tmp_path / "ready").exists, "the runner was ready")
    os.kill(int(handle.split("|")[0]), 9)
    until(lambda: backend.state(machine, handle) == "gone", "the machine was gone")
    mark = f"DSTACK_MACHINE={machine}"
    left = processes.marked(mark)
    assert left
    backend.terminate(machine, handle)
    assert processes.marked(mark) == []
    assert not any(map(processes.alive, left))


def test_a_runner_may_end_in_good_order(machine: str, tmp_path: Path) -> None:
    backend = LocalBackend({})
    script = f"trap 'echo saved > {tmp_path}/out; exit' TERM; : > {tmp_path}/ready; while :; do sleep 0.01; done"
    handle = launch(backend, machine, "sh", "-c", script)
    until((tmp_path / "ready").exists, "the runner was ready")
    backend.terminate(machine, handle)
    assert (tmp_path / "out").read_text() == "saved\n"


def test_a_runner_that_will_not_end_is_killed(backend: LocalBackend, machine: str, tmp_path: Path) -> None:
    script = f"trap '' TERM; : > {tmp_path}/ready; while :; do sleep 0.01; done"
    handle = launch(backend, machine, "sh", "-c", script)
    until((tmp_path / "ready").exists, "the runner was ready")
    backend.terminate(machine, handle)
    assert backend.state(machine, handle) == "gone"


def test_the_log_is_private_and_has_what_the_runner_says(backend: LocalBackend, machine: str, home: Path) -> None:
    handle = launch(backend, machine, "sh", "-c", "echo $EXTRA; pwd; echo $DSTACK_MACHINE >&2; test ! -t 0; exit")
    until(lambda: backend.state(machine, handle) == "gone", "the machine was gone")
    log = home / "machines" / f"{machine}.log"
    assert log.read_text() == f"yes\n/\n{machine}\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def test_machines_of_another_dstack_folder_are_not_ours(
    backend: LocalBackend, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(backend, machine, "sh", "-c", "sleep 600; exit")
    assert machine in backend.machines()
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "other"))
    assert machine not in backend.machines()


def test_a_runner_that_cannot_start_is_no_capacity(backend: LocalBackend, machine: str) -> None:
    with pytest.raises(CapacityError, match="no-such-program"):
        launch(backend, machine, "no-such-program")


def test_the_reasons_are_in_words(backend: LocalBackend) -> None:
    (reason,) = backend.offers(Requirements(cpu=1e6, memory=1 << 60)).rejected
    assert reason.startswith("this machine: needs 1e+06 cpu, has ")
    assert "needs 1.049e+06 TiB of memory, has " in reason
