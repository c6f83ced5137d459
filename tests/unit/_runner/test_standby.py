"""A machine that waits for another run: it is taken, or ends, and lives as long as it reaches the store."""

from __future__ import annotations

import threading
import time

import pytest
from dstack_local.store import FolderStore

from dstack_core._engine.elsewhere import KIND
from dstack_core._ledger.idle import end, idle_machines, look, take
from dstack_core._ledger.machines import cost_so_far, gone, intend, launched
from dstack_core._ledger.records import RunRecord
from dstack_core._ledger.runs import create_run, finish_run, finished_runs, read_run, remove_run
from dstack_core._runner import standby
from dstack_core._runner.standby import Standby
from dstack_core.models import Offer
from dstack_core.testing.waiting import until


class Waiting(threading.Thread):
    """One that waits; what came of it is in `came`."""

    def __init__(self, store, machine, idle):
        super().__init__(daemon=True)
        self.interrupted = False
        self.came = "nothing yet"
        self._standby = Standby(store, machine, lambda: self.interrupted)
        self._idle = idle

    def run(self):
        self.came = self._standby.wait(self._idle)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_LIFE", str(tmp_path / "life"))
    monkeypatch.setenv("DSTACK_LEASE", "20")
    monkeypatch.setenv(KIND, "kind")
    monkeypatch.setattr(standby, "LOOK", 0.01)
    return FolderStore({"path": str(tmp_path / "store")})


@pytest.fixture
def budget():
    """Of the run that the machine worked for."""
    return


@pytest.fixture
def machine(store, budget):
    """One whose work is over, an hour after its launch."""
    began = time.time() - 3600
    run = create_run(store, RunRecord("", "me/repo", "me", "train", "", began, "far", budget=budget)).value.name
    record = intend(store, run, Offer("box", "box", 1.0, 1, price=1.0), 0, began).value
    launched(store, run, record.id, "i-1")  # after its runner came up and read its record
    gone(store, run, record.id, began + 3600)
    finish_run(store, run, "done", 0, began + 3600, 1.0)
    return record


@pytest.fixture
def wait(store, machine):
    started = []

    def start(idle=60.0):
        waiting = Waiting(store, machine, idle)
        started.append(waiting)
        waiting.start()
        until(lambda: look(store, machine.label), "it to wait", 30)
        return waiting

    yield start
    for waiting in started:
        waiting.interrupted = True
        waiting.join(30)
        assert not waiting.is_alive()


def hours(store, run):
    """For how long the run paid for machines at a dollar per hour, as its own record and that of lists say."""
    found = read_run(store, run).value
    (listed,) = finished_runs(store, found.repo)
    assert listed.cost == found.cost
    return found.cost


def waited(waiting):
    waiting.join(30)
    return waiting.came


def test_it_is_taken(store, machine, wait, tmp_path):
    waiting = wait()
    until((tmp_path / "life").exists, "its life to be extended", 30)
    (document,) = idle_machines(store)
    assert (document.value.handle, document.value.kind, document.value.run) == ("i-1", "kind", machine.run)
    taken = take(store, document, "new-1", 2, time.time())
    assert waited(waiting) == ("new-1", taken.id)
    assert look(store, machine.label) is None


def test_its_run_pays_until_it_is_taken_and_the_next_one_from_then_on(store, machine, wait):
    waiting = wait()
    taken = take(store, look(store, machine.label), "new-1", 2, time.time())
    assert waited(waiting) == ("new-1", taken.id)
    assert hours(store, machine.run) * 3600 == pytest.approx(taken.created - machine.created)
    assert cost_so_far(store, "new-1", taken.created + 3600) == pytest.approx(1.0)


def test_what_it_costs_is_recorded_while_it_waits(store, machine, wait, monkeypatch):
    monkeypatch.setattr(standby, "MINUTE", 0.0)
    waiting = wait()
    until(lambda: read_run(store, machine.run).value.cost > 1.0, "its cost", 30)
    before = read_run(store, machine.run).value.cost
    until(lambda: read_run(store, machine.run).value.cost > before, "more of it", 30)
    waiting.interrupted = True
    waited(waiting)
    assert hours(store, machine.run) > before


@pytest.mark.parametrize("budget", [1.0005])
def test_it_waits_no_longer_than_its_runs_budget_allows(store, machine, wait, budget):
    waiting = wait(600.0)
    assert waited(waiting) is None
    assert hours(store, machine.run) == pytest.approx(budget, abs=1e-3)


def test_a_run_that_was_removed_pays_nothing(store, machine, wait, monkeypatch):
    waiting = wait()
    remove_run(store, machine.run)
    waiting.interrupted = True
    assert waited(waiting) is None
    assert list(finished_runs(store, "me/repo")) == []
    assert list(store.list(f"machines/{machine.run}/")) == []


def test_its_time_is_over(store, machine, wait):
    waiting = wait(0.3)
    assert waited(waiting) is None
    assert look(store, machine.label) is None


def test_it_is_released(store, machine, wait):
    waiting = wait()
    end(store, look(store, machine.label))
    assert waited(waiting) is None


def test_it_is_told_to_do_nothing_more(store, machine, wait):
    waiting = wait()
    waiting.interrupted = True
    assert waited(waiting) is None
    assert look(store, machine.label) is None


def test_a_run_that_has_no_record_of_it_is_not_waited_for(store, machine, wait, monkeypatch):
    """Whoever took it has died between two writes."""
    monkeypatch.setattr(standby, "GRACE", 0.3)
    monkeypatch.setattr("dstack_core._ledger.idle.record", _dies)
    waiting = wait()
    with pytest.raises(KeyboardInterrupt):
        take(store, look(store, machine.label), "new-1", 0, time.time())
    assert waited(waiting) is None


def _dies(*_):
    raise KeyboardInterrupt
