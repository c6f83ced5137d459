"""A machine elsewhere lives as long as its runner reaches the store, and nobody gave it up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.machines import gone, intend, machines
from dstack_core._runner.life import Life
from dstack_core.artifact_store import ANY
from dstack_core.errors import StoreError
from dstack_core.models import Offer
from dstack_core.testing.waiting import until


class Unsteady(FolderStore):
    """A store that can be out of reach."""

    out_of_reach = False

    def read(self, key, start=0, length=None):
        self._reach()
        return super().read(key, start, length)

    def write(self, key, data, expect=ANY):
        self._reach()
        return super().write(key, data, expect)

    def _reach(self):
        if self.out_of_reach:
            raise StoreError("no route to it")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_LIFE", str(tmp_path / "life"))
    monkeypatch.setenv("DSTACK_LEASE", "2")
    return Unsteady({"path": str(tmp_path / "store")})


@pytest.fixture
def machine(store):
    return intend(store, "run", Offer("box", "box", 1.0, 1), 0, time.time()).value.id


@pytest.fixture
def life(store, machine):
    """What is told when it ends, and its end."""
    told: list[str] = []
    life = Life(store, "run", machine, told.append)
    yield told
    life.stop()


def deadline(tmp_path: Path) -> float:
    """Seconds from now until the machine powers itself off."""
    file = tmp_path / "life"
    until(file.exists, "a first word", 30)
    return int(file.read_text()) - float(Path("/proc/uptime").read_text().split()[0])


def test_each_sign_of_life_extends_it(life, store, tmp_path):
    assert 0 < deadline(tmp_path) <= 2
    first = int((tmp_path / "life").read_text())
    until(lambda: int((tmp_path / "life").read_text()) > first, "another word", 30)
    (record,) = [document.value for document in machines(store, "run")]
    assert record.beats > 0
    assert life == []


def test_it_ends_for_who_was_given_up(life, store, machine, tmp_path):
    deadline(tmp_path)
    gone(store, "run", machine, time.time())
    until(lambda: life, "the news", 30)
    assert "was given up" in life[0]


def test_it_ends_for_who_cannot_reach_the_store_for_the_lease(life, store, tmp_path):
    deadline(tmp_path)
    began = time.monotonic()
    store.out_of_reach = True
    until(lambda: life, "the news", 30)
    assert time.monotonic() - began > 1  # one failure is none
    assert "no route to it" in life[0]
    assert deadline(tmp_path) < 1  # nobody extended it
