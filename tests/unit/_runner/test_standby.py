"""A machine that waits for another run: it is taken, or ends, and lives as long as it reaches the store."""

from __future__ import annotations

import threading
import time

import pytest
from dstack_local.store import FolderStore

from dstack_core._engine.elsewhere import KIND
from dstack_core._ledger.idle import end, idle_machines, look, take
from dstack_core._ledger.machines import gone, intend, launched
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
def machine(store):
    record = intend(store, "old-1", Offer("box", "box", 1.0, 1), 0, time.time()).value
    launched(store, "old-1", record.id, "i-1")  # after its runner came up and read its record
    gone(store, "old-1", record.id, time.time())
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


def waited(waiting):
    waiting.join(30)
    return waiting.came


def test_it_is_taken(store, machine, wait, tmp_path):
    waiting = wait()
    until((tmp_path / "life").exists, "its life to be extended", 30)
    (document,) = idle_machines(store)
    assert (document.value.handle, document.value.kind, document.value.run) == ("i-1", "kind", "old-1")
    taken = take(store, document, "new-1", 2, time.time())
    assert waited(waiting) == ("new-1", taken.id)
    assert look(store, machine.label) is None


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
