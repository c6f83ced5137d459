"""The keeper starts a runner again that died, and leaves one alone that meant to end."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from dstack_core._runner.keeper import keep

def run():
    with open(sys.argv[1], "a") as log:
        log.write("started\\n")
    tries = len(open(sys.argv[1]).readlines())
    {body}

sys.exit(keep(run))
"""


def keep(tmp_path, body):
    log = tmp_path / "log"
    program = [sys.executable, "-c", PROGRAM.format(body=body), str(log)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    return done.returncode, len(log.read_text().splitlines()), done.stderr


def test_a_runner_that_ends_is_not_started_again(tmp_path):
    assert keep(tmp_path, "return 0")[:2] == (0, 1)


def test_a_killed_runner_is_started_again(tmp_path):
    assert keep(tmp_path, "return 0 if tries == 2 else os.kill(os.getpid(), signal.SIGKILL)")[:2] == (0, 2)


def test_a_runner_that_raises_is_started_again_and_its_traceback_kept(tmp_path):
    code, started, err = keep(tmp_path, "if tries == 3: return 0\n    raise ValueError('broken')")
    assert (code, started) == (0, 3)
    assert "ValueError: broken" in err


def test_an_error_for_people_is_a_line_of_its_own(tmp_path):
    body = "from dstack_core.errors import StoreError\n    raise StoreError('no right to read')"
    code, started, err = keep(tmp_path, body)
    assert (code, started) == (1, 4)
    assert err.splitlines()[-2:] == [
        "dstack: the runner cannot go on: no right to read",
        "dstack: the runner ended with 1",
    ]


def test_a_runner_that_always_dies_is_given_up(tmp_path):
    assert keep(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")[:2] == (128 + signal.SIGKILL, 4)


@pytest.mark.parametrize("body", ["signal.pause()"])
def test_sigterm_reaches_the_runner_and_ends_both(tmp_path, body):
    log = tmp_path / "log"
    read, write = os.pipe()
    body = f"os.write({write}, b'x'); {body}"
    keeper = subprocess.Popen([sys.executable, "-c", PROGRAM.format(body=body), str(log)], pass_fds=[write])
    os.close(write)
    assert os.read(read, 1) == b"x"
    keeper.terminate()
    assert keeper.wait() == 128 + signal.SIGTERM
    assert os.read(read, 1) == b""  # the runner has ended, too: nobody holds the pipe any more
    os.close(read)
