"""Commands and desktops are told of the runs that the user wants to hear of; nothing of theirs does harm."""

from __future__ import annotations

import json
import os
import sys

import psutil
import pytest
from dstack_notify.notice import CommandError, desktop_command, notify
from dstack_notify.plugin import dstack_observer_settings, dstack_run_finished

from dstack_core.errors import InputError
from dstack_core.models import RunEvent
from dstack_core.settings import check_settings
from dstack_core.testing.waiting import until

FAILED = RunEvent("grumpy-zebra-1", "train; touch /tmp/x", "failed", 1.5)
COPY = "import os, sys; open(sys.argv[1], 'w').write(os.environ['DSTACK_EVENT'] + '\\n' + sys.stdin.read())"


@pytest.fixture(autouse=True)
def no_desktop(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """A `notify-send` that writes what it is told."""
    program = tmp_path / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    return tmp_path / "shown"


def test_command_finds_the_event(tmp_path):
    told = tmp_path / "told"
    dstack_run_finished(FAILED, {"command": [sys.executable, "-c", COPY, str(told)]})
    variable, stdin = told.read_text().split("\n")
    assert json.loads(variable) == json.loads(stdin)
    assert json.loads(stdin) == {
        "run": "grumpy-zebra-1",
        "workflow": "train; touch /tmp/x",
        "status": "failed",
        "time": 1.5,
    }


@pytest.mark.parametrize(
    ("settings", "told"), [({}, True), ({"on": ["done"]}, False), ({"on": ["stopped", "failed"]}, True)]
)
def test_only_what_the_user_wants_to_hear(tmp_path, settings, told):
    notify(FAILED, {"command": ["touch", f"{tmp_path}/told"], **settings})
    assert (tmp_path / "told").exists() == told


def test_command_that_does_not_read_is_no_error():
    notify(RunEvent("r", "x" * 1_000_00, "done", 0.0), {"command": ["true"]})


def test_command_that_fails_is_an_error_to_log():
    with pytest.raises(CommandError, match=r"^false ended with 1$"):
        notify(FAILED, {"command": ["false"]})
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        notify(FAILED, {"command": ["no-such-program"]})


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    code = f"sleep 1000 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(CommandError, match="sh did not end"):
        notify(FAILED, {"command": ["sh", "-c", code]})
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not is_alive(pid), "what the command started is dead")


@pytest.mark.skipif(sys.platform == "darwin", reason="notify-send is Linux's")
def test_desktop_shows_it_as_data(desktop):
    notify(RunEvent("r-1", "--icon=/etc/passwd", "failed", 0.0), {})
    assert desktop.read_text().split("\n")[-4:] == ["--", "dstack: --icon=/etc/passwd failed", "r-1", ""]
    desktop.unlink()
    notify(FAILED, {"desktop": False})
    assert not desktop.exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has a desktop always")
def test_without_a_desktop_nothing_is_shown(monkeypatch, desktop):
    monkeypatch.delenv("DISPLAY")
    assert desktop_command(FAILED) is None


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ({"command": "sh -c 'echo $DSTACK_EVENT'"}, {"command": ["sh", "-c", "echo $DSTACK_EVENT"]}),
        ({"command": ["a b", "c"]}, {"command": ["a b", "c"]}),
        ({"on": "failed, stopped"}, {"on": ["failed", "stopped"]}),
        ({"desktop": "no"}, {"desktop": False}),
    ],
)
def test_settings_that_are_right(given, checked):
    assert check_settings("notify", dstack_observer_settings(), given) == checked


@pytest.mark.parametrize("given", [{"on": ["don"]}, {"command": []}, {"desktop": "perhaps"}, {"comand": "x"}])
def test_settings_that_are_wrong(given, tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path))
    with pytest.raises(InputError):
        check_settings("notify", dstack_observer_settings(), given)
