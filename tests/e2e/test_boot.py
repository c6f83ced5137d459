"""Machines that boot with the script of `dstack_core.cloud.boot`, and how each of them ends by itself."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from aws_box import Account, aws, aws_box

from dstack_core.cloud.boot import boot_script
from dstack_core.models import Bundle, Launch

__all__ = ["aws", "aws_box"]
SLEEPS = Launch("0-x", "run-1", ("bash", "-c", "echo its life is in $DSTACK_LIFE; exec sleep 1000"), lease=60)


def up(aws: Account, launch: Launch) -> str:
    """A machine whose runner runs."""
    instance = aws.launch(boot_script(launch))
    aws.wait_for(lambda: "the runner starts" in aws.console(instance), "a runner", instance)
    aws.wait_for(lambda: "its life" in aws.run(instance, "cat", "/var/log/dstack.log").out, "its word", instance)
    return instance


def test_it_ends_with_its_runner(aws: Account):
    """Whose environment, arguments and config are as the launch says."""
    said = (
        'test "$MY $DSTACK_HOME" = "own /var/lib/dstack" && grep -q remotes $DSTACK_HOME/config.yaml && exit 0; exit 7'
    )
    launch = Launch("0-x", "run-1", ("bash", "-c", said), {"MY": "own"}, config="remotes: {}")
    instance = aws.launch(boot_script(launch))
    gone = aws.wait_for_state(instance, "terminated")
    assert gone["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert "the runner has ended" in aws.console(instance)


@pytest.mark.parametrize("number", ["KILL", "STOP"])
def test_it_ends_when_its_runner_is_killed_or_stands_still(aws: Account, number: str):
    instance = up(aws, replace(SLEEPS, lease=5))
    aws.run(instance, "pkill", f"-{number}", "-x", "sleep")
    aws.wait_for_state(instance, "terminated")
    assert ("ended with 137" if number == "KILL" else "nobody extended its life") in aws.console(instance)


def test_it_lives_as_long_as_somebody_extends_its_life_but_not_for_ever(aws: Account):
    extend = "while sleep 1; do read up _ < /proc/uptime; echo $((${up%.*} + 4)) > $DSTACK_LIFE; done"
    began = time.monotonic()
    instance = up(aws, replace(SLEEPS, argv=("bash", "-c", f"echo its life; {extend}"), lease=4, max_duration=7))
    aws.wait_for_state(instance, "terminated")
    assert "longer than max_duration" in aws.console(instance)
    assert time.monotonic() - began > 7


def test_it_ends_when_it_is_started_again(aws: Account):
    """Its runner is gone, and the run has gone on without it."""
    instance = up(aws, SLEEPS)
    aws.run(instance, "reboot")
    aws.wait_for_state(instance, "terminated")


def test_it_ends_when_nobody_answers_and_its_programs_are_gone(aws: Account):
    """Without network it gets no bundle; and its watchdog needs no program until the very end."""
    launch = replace(SLEEPS, bundle=Bundle("http://127.0.0.1:1/bundle", "0" * 64, 1), lease=5)
    instance = aws.launch(boot_script(launch))
    aws.wait_for(lambda: "curl: (7)" in aws.console(instance), "a first try", instance)
    aws.run(instance, "rm", "/usr/bin/sleep", "/usr/bin/curl", "/usr/bin/cat", "/usr/bin/tail")
    aws.wait_for_state(instance, "terminated")
