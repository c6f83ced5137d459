"""What scrolls by on a terminal: lines as a terminal would leave them, nothing that steers it, and little to draw."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core._cli.live import _last_states

PROGRAM = """
import sys
from dstack_core._cli.live import LivePresenter
from dstack_core._content.logs import LogEntry
presenter = LivePresenter(sys.argv[1].split(","))
class View:
    jobs = {}
    class progress:
        waiting = ()
    status = lambda self: "running"
for n, piece in enumerate(sys.stdin.buffer.read().split(b"|")):
    presenter.log("a", LogEntry(n, 0, "o", piece))
    if n == 0:
        presenter.tick(View())
presenter.log("a", LogEntry(n + 1, 0, "x", b"0"))
presenter.close()
"""


@pytest.fixture
def on_terminal(tmp_path):
    def on_terminal(data: bytes, jobs: str = "a", **env: str) -> bytes:
        ours, theirs = pty.openpty()
        shown = bytearray()

        def read():
            while True:
                try:
                    data = os.read(ours, 1 << 16)
                except OSError:  # Linux's way to say that nobody has it open any more
                    return
                if not data:
                    return
                shown.extend(data)

        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLORTERM", "FORCE_COLOR")}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, jobs],
            stdin=subprocess.PIPE,
            stdout=theirs,
            env={**kept, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **env},
        )
        reader = threading.Thread(target=read)
        reader.start()
        process.communicate(data)
        os.close(theirs)
        reader.join()
        os.close(ours)
        assert process.returncode == 0
        return bytes(shown).replace(b"\r\n", b"\n")

    return on_terminal


def test_many_lines_are_printed_in_few_strokes(on_terminal):
    lines = b"".join(b"%d\n" % n for n in range(100_000))
    cut = [lines[start : start + 65_536] for start in range(0, len(lines), 65_536)]
    shown = on_terminal(b"|".join(cut))
    assert re.findall(rb"^\d+$", shown, re.MULTILINE)[-1] == b"99999"
    assert len(shown) < len(lines) + 20_000


def test_lines_are_whole_and_have_their_jobs_names(on_terminal):
    shown = on_terminal(b"one\ntw|o\n\nno newline", "a,other")
    prefix = b"\x1b[2ma     | \x1b[0m"
    for line in (b"one", b"two", b"", b"no newline"):
        assert prefix + line + b"\n" in shown


def test_a_colour_ends_with_its_line(on_terminal):
    shown = on_terminal(b"\x1b[31mred\nplain\n")
    assert b"\x1b[31mred\x1b[0m\nplain\n" in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(on_terminal, env):
    assert b"31m" not in on_terminal(b"\x1b[31mred\x1b[0m\n", **env)


def test_the_cursor_comes_back(on_terminal):
    shown = on_terminal(b"x\n")
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


@given(st.lists(st.text(st.sampled_from("ab\r\té"), max_size=8), min_size=1))
def test_carriage_returns_leave_the_last_state(lines):
    wanted = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    assert _last_states("".join(line + "\n" for line in lines).encode()) == "".join(line + "\n" for line in wanted)
    assert _last_states(lines[0].encode()) == wanted[0]  # an unfinished one


@given(st.lists(st.sampled_from([b"\x1b", b"[", b"31", b"m", b"2J", b"]0;", b"\x07", b"a", b"\n", b"\xc2", b"\x9b"])))
def test_no_output_steers_the_terminal(pieces):
    assert not re.search("\x1b(?!\\[[0-9;:]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", _last_states(b"".join(pieces)))
