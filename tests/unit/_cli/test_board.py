"""The live view of `dstack ps -w`: everything that matters fits on a screen of any size."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from dstack_core._cli.board import Board
from dstack_core._cli.boardlines import screen
from dstack_core._cli.context import Context
from dstack_core._cli.runs import Selection
from dstack_core._ledger.records import Attempt
from dstack_core._plugins import Plugins
from dstack_core.models import Cell, JobSpec, Retry
from tests.unit._cli.conftest import planned

BEGAN = 1_700_000_000.0


@pytest.fixture(autouse=True)
def a_minute_later(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: BEGAN + 75)


@pytest.fixture
def board(scene):
    def board(only: str | None = None, **selection: object) -> Board:
        made = Board(Context(Plugins.of_user()), Selection(**selection), only)
        made.look()
        return made

    return board


def shown(board: Board, width: int = 100, height: int = 40) -> list[str]:
    return [line.plain for line in screen(board, width, height)]


def attempt(number: int = 1, status: str = "running", **fields: object) -> Attempt:
    return Attempt(number, "m", BEGAN, status, **fields)


def pipeline(scene, count: int = 3) -> None:
    """Of every kind of job some."""
    retry = JobSpec(("bash",), retry=Retry(3, ("failed",), 10.0))
    jobs = [planned(f"{kind}-{n}") for kind in ("done", "bad", "busy") for n in range(count)]
    jobs.append(replace(planned("flaky"), spec=retry))
    cells = [planned(f"w[n={n}]", "busy-0", cell=Cell("w", {"n": str(n)}, 2)) for n in range(count)]
    scene.run("odd-cat-1", *jobs, planned("ready"), *cells, submitted=BEGAN)
    for n in range(count):
        scene.job("odd-cat-1", f"done-{n}", "done", attempt(status="done", finished=BEGAN + 1))
        scene.job("odd-cat-1", f"bad-{n}", "failed", attempt(status="failed"), reason="exit code 3")
        transfer = {"status": "uploading", "transfer": (5_000_000, 10_000_000)} if n else {"status": "running"}
        scene.job("odd-cat-1", f"busy-{n}", transfer.pop("status"), attempt(), **transfer)
    waits = {"reason": "attempt 1 of 3 failed: exit code 1", "not_before": time.time() + 1000}
    scene.job("odd-cat-1", "flaky", "submitted", attempt(status="failed", reason="exit code 1"), **waits)


def test_what_is_told_of_a_run(scene, board):
    pipeline(scene)
    lines = shown(board())
    assert lines[0].startswith("odd-cat-1  w[n=2]  running  1 min 15 s")
    assert lines[0].endswith("6 of 14 jobs")
    assert lines[1] == "├─ ✓ 3 done"
    text = " ".join(" ".join(lines).split())
    assert "✗ bad-0 failed exit code 3" in text
    assert "busy-1 uploading 1 min 15 s" in text
    assert "━━━━━━━━━━────────── 5.0 MB of 10.0 MB" in text
    assert "↻ flaky attempt 2 of 3, next try in 16 min" in text
    assert "· ready waits for room on a machine" in text
    assert "· w[n=0] waits for busy-0" in text
    assert lines[-2].startswith("└─ ")


def test_on_a_small_screen_the_rest_is_counted(scene, board):
    pipeline(scene, 200)
    lines = shown(board(), 80, 24)
    assert len(lines) == 24
    assert sum("✗" in line for line in lines) <= 6
    assert sum("uploading" in line for line in lines) >= 10
    (rest,) = (line for line in lines if "more" in line)
    assert "more running" in rest
    assert "more failed" in rest
    assert "201 more waiting" in rest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # which the examples only read
@given(width=st.integers(1, 200), height=st.integers(1, 60))
def test_it_fits_everywhere(large, width, height):
    lines = screen(large, width, height)
    assert 0 < len(lines) <= height
    assert all(cell_len(line.plain) <= width for line in lines)


@pytest.fixture
def large(scene, board):
    pipeline(scene, 30)
    for n in range(20):
        scene.run(f"more-{n}", planned("模型" * 30), submitted=BEGAN + n)
    for n in range(20):
        scene.finished(f"old-{n}", submitted=BEGAN - n)
    return board(everything=True)


def test_several_runs_share_the_screen(scene, board):
    pipeline(scene, 30)
    for n in range(3):
        scene.run(f"more-{n}", planned("train"), submitted=BEGAN + 1 + n)
    lines = shown(board(), 80, 20)
    for name in ("more-0", "more-1", "more-2", "odd-cat-1"):
        assert any(line.startswith(name) for line in lines), name


def test_one_run_alone(scene, board):
    pipeline(scene)
    scene.run("other-1", planned("train"))
    text = "\n".join(shown(board("odd-cat-1")))
    assert "odd-cat-1" in text
    assert "other-1" not in text


def test_without_an_active_run_the_last_one_is_told(scene, board):
    assert shown(board())[0] == "No runs yet. Start one with: dstack run WORKFLOW"
    scene.finished("old-cat-1", planned("train"), submitted=BEGAN)
    assert shown(board())[0] == "✓ old-cat-1: done in 5.0 s  train"


def test_a_run_that_cannot_be_read_hides_no_other(scene, board):
    pipeline(scene)
    scene.run("torn-cat-1", planned("train"), submitted=BEGAN)
    scene.store.write("runs/torn-cat-1/run.json", b"{")
    lines = shown(board())
    assert any(line.startswith("odd-cat-1") for line in lines)
    assert any(line.startswith("! ") and "torn-cat-1" in line for line in lines)


def test_names_cannot_steer_the_terminal(scene, board):
    scene.run("odd-cat-1", planned("\x1b[31mred\n"), submitted=BEGAN)
    assert all(line.isprintable() for line in shown(board()))


def test_the_last_line_of_a_running_job(scene, board):
    from dstack_core._content.logwriting import LogWriter
    from dstack_core._ledger.runs import log_prefix

    scene.run("odd-cat-1", planned("train"), submitted=BEGAN)
    scene.job("odd-cat-1", "train", "running", attempt())
    writer = LogWriter(scene.store, log_prefix("odd-cat-1", "train", 1))
    writer.write("o", b"x" * 50_000 + b"\n10%\r\x1b[32m20%\x1b[0m \x1b[2Jdone\n\n")
    writer.close()
    made = board()
    assert made.runs[0].said == {"train": "20% done"}
    assert any(line.endswith("20% done") for line in shown(made))
