"""The script that a machine starts with, as text; `tests/e2e/test_elsewhere.py` boots machines with it."""

from __future__ import annotations

import subprocess

import pytest

from dstack_core.cloud.boot import LIMIT, boot_script
from dstack_core.errors import InputError
from dstack_core.models import Bundle, Launch

HOSTILE = "it's $(touch /tmp/never) `never` \"\\ \n@VALUES@ !"


def values(script: str, *names: str) -> list[str]:
    """What bash makes of the script's values, by the name of a variable or the index of an array."""
    assignments = script.partition("STATE=")[0]
    asked = "".join(f'printf "%s\\0" "${{{name}}}"\n' for name in names)
    said = subprocess.run(["bash", "-c", f"{assignments}\n{asked}"], capture_output=True, check=True)
    assert said.stderr == b""
    return said.stdout.decode().split("\0")[:-1]


def test_values_arrive_as_they_are():
    launch = Launch(
        "0-abc", "run-1", ("python", "-m", HOSTILE), {"NAME": HOSTILE}, Bundle(HOSTILE, "ab" * 32, 12), HOSTILE,
        lease=20.5, max_duration=90, report=HOSTILE,
    )  # fmt: skip
    script = boot_script(launch)
    names = ["BUNDLE_URL", "BUNDLE_DIGEST", "BUNDLE_SIZE", "CONFIG", "LEASE", "MAX_DURATION", "REPORT"]
    assert values(script, *names) == [HOSTILE, "ab" * 32, "12", HOSTILE, "21", "90", HOSTILE]
    assert values(script, "ARGV[0]", "ARGV[2]", "VARIABLES[0]") == ["python", HOSTILE, f"NAME={HOSTILE}"]


def test_what_is_not_given_is_empty():
    script = boot_script(Launch("0-abc", "run-1", ("true",)))
    assert values(script, "BUNDLE_URL", "MAX_DURATION", "REPORT", "CONFIG", "#VARIABLES[@]") == ["", "0", "", "", "0"]


def test_the_machines_end_comes_first():
    """Before anything that may fail or take its time."""
    script = boot_script(Launch("0-abc", "run-1", ("true",)))
    main = script.rpartition("mkdir -p $STATE $DSTACK_HOME\n")[2]
    assert main.splitlines()[3].split() == ["detached", "watch", "always", "watch", '"$(<', '/proc/uptime)"']
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_script_that_is_too_long_is_refused():
    assert len(boot_script(Launch("0-abc", "run-1", ("true",), config="x" * 4000)).encode()) < LIMIT
    with pytest.raises(InputError, match="longer than 12288 bytes"):
        boot_script(Launch("0-abc", "run-1", ("true",), config="x" * LIMIT))
