"""`dstack logs`: bytes as written, what stands before them, and what is said of a log that is not whole."""

from __future__ import annotations

import json
import os
import pty
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dstack_core._cli.logtext import Terminal
from dstack_core._content.logs import LogWriter
from dstack_core._ledger.machines import machines
from dstack_core._ledger.records import Attempt
from dstack_core._ledger.runs import job_key, log_prefix
from dstack_core._plan.job import Reused

from .conftest import planned


@pytest.fixture
def wrote(scene):
    def wrote(run, job, *output, attempt=1, end=0):
        writer = LogWriter(scene.store, log_prefix(run, job, attempt))
        for stream, data in output:
            writer.write(stream, data)
        writer.close(end)

    return wrote


def tried(number=1, started=100.0, status="done", **fields):
    return Attempt(number, "m", started, status, started + 5, **fields)


@pytest.fixture
def run(scene, wrote):
    """Two jobs; `train` started first."""
    scene.finished("x-1", planned("data"), planned("train"))
    scene.job("x-1", "data", "done", tried(started=200.0))
    scene.job("x-1", "train", "done", tried(started=100.0))
    wrote("x-1", "data", ("o", b"one\ntwo"))
    wrote("x-1", "train", ("o", b"epoch 1\n"), ("e", b"careful\n"))
    return "x-1"


def test_one_job_is_passed_on_as_it_was_written(scene, dstack, wrote):
    scene.finished("x-1")
    scene.job("x-1", "train", "done", tried())
    every = bytes(range(256)) * 3
    wrote("x-1", "train", ("o", every), ("e", every[::-1]))
    result = dstack("logs", "x-1")
    assert (result.raw, result.raw_err) == (every, every[::-1])


def test_several_jobs_in_order_of_start_with_their_names(dstack, run):
    result = dstack("logs", run)
    assert result.out == "train | epoch 1\ndata  | one\ndata  | two\n"
    assert result.err == "train | careful\n"


def test_one_of_several_jobs(dstack, run):
    assert dstack("logs", run, "data").out == "one\ntwo"
    result = dstack("logs", run, "dta")
    assert result.code == 66
    assert "did you mean data?" in result.err


def test_json(dstack, run, wrote, scene):
    scene.finished("x-2")
    scene.job("x-2", "train", "failed", tried(status="failed", exit_code=3))
    wrote("x-2", "train", ("o", b"caf\xc3\xa9\n"), ("e", b"\xff"), end=3)
    lines = [json.loads(line) for line in dstack("logs", "x-2", "--json").out.splitlines()]
    assert [{k: v for k, v in line.items() if k not in ("time", "job", "attempt")} for line in lines] == [
        {"seq": 0, "stream": "stdout", "text": "café\n"},
        {"seq": 1, "stream": "stderr", "base64": "/w=="},
        {"seq": 2, "stream": "end", "exit_code": 3},
    ]
    assert lines[0]["time"].endswith("Z")


def test_attempts(scene, dstack, wrote):
    scene.finished("x-1")
    scene.job("x-1", "train", "done", tried(1, 100.0, "interrupted"), tried(2, 200.0))
    wrote("x-1", "train", ("o", b"first\n"))
    wrote("x-1", "train", ("o", b"second\n"), attempt=2)
    result = dstack("logs", "x-1")
    assert result.out == "first\nsecond\n"
    assert result.err == "train, attempt 2:\n"
    assert dstack("logs", "x-1", "--attempt", "2").out == "second\n"
    assert dstack("logs", "x-1", "--attempt", "3").code == 66


def test_timestamps(dstack, run):
    lines = dstack("logs", run, "data", "-t").out.splitlines()
    assert [line.split()[-1] for line in lines] == ["one", "two"]
    for line in lines:
        time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")


def test_a_log_without_end_of_a_finished_job(scene, dstack, wrote):
    scene.finished("x-1")
    scene.job("x-1", "train", "interrupted", tried(status="interrupted"))
    wrote("x-1", "train", ("o", b"half"))
    (segment,) = scene.store.list(log_prefix("x-1", "train", 1) + "/")
    data = scene.store.read(segment.key).data
    scene.store.write(segment.key, data[: data.rindex(b"\n", 0, -1) - 12])
    result = dstack("logs", "x-1")
    assert "the log ends early: its runner was killed" in result.err
    assert result.code == 0


def test_no_log_at_all_of_a_finished_job(scene, dstack):
    scene.finished("x-1")
    scene.job("x-1", "train", "failed", tried(status="failed", reason="there is no Python 2.7"))
    result = dstack("logs", "x-1")
    assert "the log ends early" in result.err
    assert "train: failed: there is no Python 2.7" in result.err


def test_a_log_that_goes_on_has_no_end_and_that_is_fine(scene, dstack, wrote):
    scene.run("x-1")
    machine = next(iter(machines(scene.store, "x-1"))).value.id
    scene.job("x-1", "train", "running", Attempt(1, machine, 100.0, "running"))
    assert dstack("logs", "x-1").err == ""


def test_a_gap(scene, dstack, wrote):
    scene.finished("x-1")
    scene.job("x-1", "train", "done", tried())
    scene.store.write(log_prefix("x-1", "train", 1) + "/00000001", b"0 1 o 2\na\n\n5 1 o 2\nb\n\n6 1 x 1\n0\n")
    result = dstack("logs", "x-1")
    assert result.out == "a\nb\n"
    assert "4 entries of the log are missing" in result.err
    gap = json.loads(dstack("logs", "x-1", "--json").out.splitlines()[1])
    assert (gap["stream"], gap["missing"]) == ("gap", 4)


def test_since(scene, dstack):
    scene.finished("x-1")
    scene.job("x-1", "train", "done", tried())
    now = int(time.time() * 1000)
    old, new = now - 3_600_000, now - 60_000
    log = f"0 {old} o 4\nold\n\n1 {new} o 4\nnew\n\n2 {now} x 1\n0\n"
    scene.store.write(log_prefix("x-1", "train", 1) + "/00000001", log.encode())
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(old / 1000 + 60))
    for since in ("5m", "0.5h", "300s", instant, instant.replace("Z", "+00:00")):
        assert dstack("logs", "x-1", "--since", since).out == "new\n", since
    assert dstack("logs", "x-1", "-s", "1d").out == "old\nnew\n"
    assert dstack("logs", "x-1", "-s", "2s").out == ""
    for wrong in ("5", "m", "yesterday", "-5m", ""):
        assert dstack("logs", "x-1", "--since", wrong).code == 2, wrong


def test_a_reused_job_says_where_its_log_is(scene, dstack):
    scene.finished("x-2", planned("data", decision="reuse", reused=Reused("x-1", "data", "ann", 0.0, 0.0)))
    result = dstack("logs", "x-2")
    assert (result.code, result.err) == (0, "data was reused: dstack logs x-1 data\n")


def test_a_damaged_job_is_a_warning(scene, dstack, run):
    scene.store.write(job_key("x-1", "train"), b"garbage")
    result = dstack("logs", run)
    assert (result.code, result.out) == (0, "one\ntwo")
    assert job_key("x-1", "train") in result.err


@pytest.mark.parametrize("name", ["a;b", "a,b", "модель", "x" * 200])
def test_names_of_jobs_are_data(scene, dstack, wrote, name):
    scene.finished("x-1", planned(name))
    scene.job("x-1", name, "done", tried())
    wrote("x-1", name, ("o", b"hello\n"))
    assert dstack("logs", "x-1", name).out == "hello\n"


def test_a_terminal_is_not_steered(scene, project, wrote):
    import subprocess
    import sys

    scene.finished("x-1")
    scene.job("x-1", "train", "done", tried())
    wrote("x-1", "train", ("o", b"\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\tok\x07\x08\n"))
    ours, theirs = pty.openpty()
    program = (
        "import sys; from dstack_core._cli.context import Context; Context.repo = 'ann/digits';"
        "from dstack_core._cli.main import run; sys.exit(run(['logs', 'x-1']))"
    )
    shown = bytearray()

    def read():
        try:
            while data := os.read(ours, 65536):
                shown.extend(data)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run([sys.executable, "-c", program], stdout=theirs, check=True)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert bytes(shown).replace(b"\r\n", b"\n") == b"\x1b[31mred\x1b[0m\tok\n"


@example([b"\x1b", b"]", b"\x1b", b"\n", b"\x07"])
@example([b"\xc2", b"\x1b", b"\x9b"])
@given(st.lists(st.sampled_from([b"\x1b", b"[", b"3", b"1", b"m", b"J", b"]", b"\x07", b"a", b"\n", b"\x9b", b"\xc2",
                                 b"\xc3\xa9", b";", b"\\", b"P"])))  # fmt: skip
def test_what_a_terminal_gets_does_not_depend_on_where_output_is_cut(pieces):
    text = b"".join(pieces) + b"...."
    whole = Terminal().clean(text)
    for cut in range(len(text)):
        parts = Terminal()
        assert parts.clean(text[:cut]) + parts.clean(text[cut:]) == whole
    import re

    assert not re.search(rb"\x1b(?!\[[0-9;:]*m)|\x07|\xc2[\x80-\x9f]", Terminal().clean(text))
