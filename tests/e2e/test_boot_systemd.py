"""Machines that boot with the script of `dstack_core.cloud.boot` and have real systemd and cloud-init.

Not covered here: a bundle, and `systemctl start docker`; `test_elsewhere.py` has machines with those, without systemd.
"""

from __future__ import annotations

from collections.abc import Callable

from docker_engine import engine
from systemd_machine import SystemdMachine, systemd_machine

from dstack_core.cloud.boot import boot_script
from dstack_core.models import Launch

__all__ = ["engine", "systemd_machine"]
New = Callable[[str], SystemdMachine]


def booted(new: New, seconds: int = 1000, **limits: float) -> SystemdMachine:
    """One whose runner sleeps, which is all that is left of the boot."""
    machine = new(boot_script(Launch("0-x", "run-1", ("sleep", str(seconds)), **limits)))
    machine.wait_for(lambda: machine.run("pgrep", "-x", "sleep"), "a runner")
    machine.wait_for(lambda: machine.unit("cloud-final")["SubState"] == "exited", "the end of the boot")
    return machine


def test_the_runner_and_the_watchdog_are_units_that_outlive_the_user_data(systemd_machine: New):
    machine = booted(systemd_machine, lease=600)
    for name, restart in (("watch", "always"), ("boot", "no")):
        unit = machine.unit(f"dstack-{name}")
        assert (unit["ActiveState"], unit["SubState"], unit["Restart"]) == ("active", "running", restart)
        assert (unit["OOMPolicy"], unit["StandardOutput"]) == ("continue", "journal+console")
        # cgroups of their own: whatever ends with cloud-init or with a session does not end them.
        assert unit["ControlGroup"].endswith(f"/system.slice/dstack-{name}.service")
    assert "dstack: the runner starts" in machine.console()
    machine.run("pkill", "-x", "sleep")
    machine.wait_for(lambda: not machine.is_on(), "it to end with its runner")
    assert "dstack: the runner ended with 143" in machine.console()


def test_a_watchdog_that_is_killed_comes_back_and_remembers_when_the_machine_was_born(systemd_machine: New):
    """It ends at the time that it would have: nobody extends its life, and its runner would sleep on."""
    machine = booted(systemd_machine, lease=40)
    before = machine.unit("dstack-watch")
    machine.run("kill", "-KILL", before["MainPID"])
    after = machine.wait_for(
        lambda: (unit := machine.unit("dstack-watch")).get("MainPID") not in (None, "0", before["MainPID"]) and unit,
        "another watchdog",
    )
    born = [unit["ExecStart"].partition(" watch ")[2].split()[0] for unit in (before, after)]
    assert born[0] == born[1]
    machine.wait_for(lambda: not machine.is_on(), "it to end")
    assert "this machine ends: nobody extended its life" in machine.console()


def test_a_machine_that_is_started_again_ends_at_once(systemd_machine: New):
    """By cloud-init's own rule for what is in its folder for each boot; its user data is not run again."""
    machine = booted(systemd_machine, lease=600)
    machine.docker("stop", machine.name)
    said = machine.console().count("dstack: the runner starts")
    machine.start()
    machine.wait_for(lambda: not machine.is_on(), "it to end")
    assert machine.console().count("dstack: the runner starts") == said == 1
