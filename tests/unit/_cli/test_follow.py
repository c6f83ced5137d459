"""Following a run: a store that fails for a while is endured, and the terminal is given back whatever happens."""

from __future__ import annotations

import contextlib
import signal
import time

import pytest

from dstack_core._cli import follow as following
from dstack_core._cli.context import Context
from dstack_core._cli.follow import follow
from dstack_core._content.logwriting import LogWriter
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import Attempt
from dstack_core._ledger.runs import finish_run, job_key, log_prefix, run_key
from dstack_core._plugins import Plugins
from dstack_core.errors import StoreError

from .conftest import Counting


class Recorder:
    """A presenter that notes what it is told, and calls `at` at each look."""

    def __init__(self, at=lambda looks: None):
        self.told: list[str] = []
        self._at = at
        self._looks = 0

    def job(self, record):
        self.told.append(f"{record.job} {record.status}")

    def log(self, job, entry):
        self.told.append(f"{job} wrote")

    def warn(self, message):
        self.told.append(f"warning: {message}")

    def tick(self, view):
        self._looks += 1
        self._at(self._looks)

    def end(self, view):
        self.told.append("end")

    def close(self):
        self.told.append("close")

    def pause(self):
        return contextlib.nullcontext()


class Flaky(Counting):
    """Fails as often as `failures` says."""

    failures = 0
    lasting = False

    def read(self, key, start=0, length=None):
        if self.failures:
            self.failures -= 1
            raise StoreError(f"cannot read {key}", lasting=self.lasting)
        return super().read(key, start, length)


@pytest.fixture
def flaky(store, monkeypatch):
    store = Flaky(store)
    monkeypatch.setattr(Context, "store", store)
    monkeypatch.setattr(following, "OUTAGE_PAUSE", 0.001)
    return store


@pytest.fixture
def here():
    return Context(Plugins.of_user())


def test_a_store_that_fails_for_a_while_costs_one_line(scene, flaky, here):
    scene.run("x-1")

    def at(looks):
        if looks == 2:
            flaky.failures = 20
        elif looks == 4:
            finish_run(scene.store, "x-1", "done", 0, time.time())

    presenter = Recorder(at)
    assert follow(here, RunView(flaky, "x-1"), presenter) == 0
    assert [line for line in presenter.told if line.startswith("warning")] == [
        f"warning: cannot read {run_key('x-1')}; trying again"
    ]
    assert presenter.told[-2:] == ["end", "close"]


@pytest.mark.parametrize("lasting", [False, True])
def test_one_that_goes_on_failing_ends_it_with_the_error(scene, flaky, here, monkeypatch, lasting):
    """`LASTING_OUTAGE` counts for an error that lasts, and no more than that."""
    monkeypatch.setattr(following, "LASTING_OUTAGE" if lasting else "OUTAGE", 0.05)
    scene.run("x-1")
    flaky.lasting = lasting

    def at(looks):
        flaky.failures = 10**9

    presenter = Recorder(at)
    with pytest.raises(StoreError, match="cannot read"):
        follow(here, RunView(flaky, "x-1"), presenter)
    assert presenter.told == [f"warning: cannot read {run_key('x-1')}; trying again", "close"]


def test_whatever_goes_wrong_the_terminal_is_given_back(scene, flaky, here):
    def at(looks):
        raise ZeroDivisionError

    scene.run("x-1")
    presenter = Recorder(at)
    with pytest.raises(ZeroDivisionError):
        follow(here, RunView(flaky, "x-1"), presenter)
    assert presenter.told == ["close"]


def test_a_damaged_job_is_told_once(scene, flaky, here):
    scene.run("x-1")
    scene.job("x-1", "train", "running", Attempt(1, "0-x", time.time(), "running"))
    scene.store.write(job_key("x-1", "train"), b"{")

    def at(looks):
        if looks == 5:
            finish_run(scene.store, "x-1", "failed", 1, time.time())

    presenter = Recorder(at)
    assert follow(here, RunView(flaky, "x-1"), presenter) == 1
    assert len([line for line in presenter.told if job_key("x-1", "train") in line]) == 1


def test_ctrl_c_loses_nothing_of_what_was_read(scene, flaky, here):
    """It comes when the first of several entries is shown; here, without a terminal, it means stop."""
    scene.run("x-1")
    scene.job("x-1", "train", "running", Attempt(1, "0-x", time.time(), "running"))
    log = LogWriter(scene.store, log_prefix("x-1", "train", 1))
    for text in (b"one", b"two", b"three"):
        log.write("o", text)
    log.close(0, 1.0)

    def at(looks):
        if RunView(scene.store, "x-1").run.desired == "stop":
            finish_run(scene.store, "x-1", "stopped", None, time.time())

    class Interrupted(Recorder):
        def log(self, job, entry):
            super().log(job, entry)
            if len(self.told) == 1:
                signal.raise_signal(signal.SIGINT)

    presenter = Interrupted(at)
    assert follow(here, RunView(flaky, "x-1"), presenter) == 130
    assert presenter.told.count("train wrote") == 4  # and the end marker
