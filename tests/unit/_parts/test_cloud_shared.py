"""A server that several processes share starts once, ends with the last of them, and leaves nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cloud_image
import psutil
import pytest
from aws_box import SERVER, Box
from cloud_shared import shared

PARTS = Path(cloud_image.__file__).parent
SMALL = """
import sys
sys.path.insert(0, {parts!r})
from pathlib import Path
from cloud_shared import Users
from contextlib import closing
with closing(Users(Path(sys.argv[1]))) as users:
    users.announce({{"address": "here"}})
    users.wait()
"""
USER = """
import sys
sys.path.insert(0, {parts!r})
from pathlib import Path
from cloud_shared import shared
with shared(Path(sys.argv[1]), Path(sys.argv[2])) as about:
    print(about["pid"], flush=True)
    sys.stdin.read()
"""


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while lives(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.02)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(textwrap.dedent(SMALL.format(parts=str(PARTS))))
    return path


def another(folder: Path, program: Path) -> tuple[subprocess.Popen[str], int]:
    """Another process that uses the server, and the server's id."""
    user = subprocess.Popen(
        [sys.executable, "-c", USER.format(parts=str(PARTS)), folder, program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert user.stdout is not None
    return user, int(user.stdout.readline())


def test_it_starts_once_and_ends_with_the_last(tmp_path: Path, program: Path):
    with shared(tmp_path, program) as about:
        user, pid = another(tmp_path, program)
        assert pid == about["pid"]
        user.communicate()
        assert lives(pid)
    assert not lives(pid)
    assert not Path(about["folder"]).exists()
    with shared(tmp_path, program) as later:
        assert later["pid"] != pid
        assert lives(later["pid"])


def test_it_ends_when_its_only_user_is_killed(tmp_path: Path, program: Path):
    user, pid = another(tmp_path, program)
    user.send_signal(signal.SIGKILL)
    user.communicate()
    wait_until_gone(pid)
    about = json.loads((tmp_path / "small.json").read_text())
    assert about["pid"] == pid
    assert not Path(about["folder"]).exists()


def test_nothing_is_left_of_an_emulator_with_machines(tmp_path: Path):
    cloud_image.require_programs()
    cloud_image.disk()
    with shared(tmp_path, SERVER) as about:
        account = Box(about).account()
        account.wait_for_state(account.launch("#!/bin/bash\nsleep 1000\n"), "running")
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if about["folder"] in str(p.info["cmdline"])]
    assert left == []
    assert not Path(about["folder"]).exists()
    assert about["folder"] not in Path("/proc/self/mounts").read_text()
