"""What a run's machines cost, from the records that are kept of them anyway."""

from __future__ import annotations

from pathlib import Path

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.machines import beat, cost_so_far, gone, intend, launched, machines
from dstack_core.errors import ConflictError
from dstack_core.models import Offer

CHEAP, DEAR = Offer("ec2", "t3.small", 2, 2 << 30, price=0.02), Offer("ec2", "p3.2xlarge", 8, 61 << 30, price=3.0)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore({"path": str(tmp_path)})


def test_each_machine_costs_from_its_launch_to_its_end(store: FolderStore) -> None:
    intend(store, "run-1", CHEAP, 0, 1000.0)
    dear = intend(store, "run-1", DEAR, 1, 1000.0).value
    intend(store, "run-2", DEAR, 0, 1000.0)
    assert cost_so_far(store, "run-1", 1000.0) == 0
    assert cost_so_far(store, "run-1", 1000.0 + 1800) == pytest.approx(1.51)
    gone(store, "run-1", dear.id, 1000.0 + 3600)
    assert cost_so_far(store, "run-1", 1000.0 + 7200) == pytest.approx(3.0 + 0.04)


def test_a_machine_of_a_clock_that_is_ahead_costs_nothing_yet(store: FolderStore) -> None:
    intend(store, "run-1", DEAR, 0, 1000.0)
    assert cost_so_far(store, "run-1", 900.0) == 0


def test_a_damaged_record_costs_nothing(store: FolderStore) -> None:
    intend(store, "run-1", DEAR, 0, 1000.0)
    key = next(iter(store.list("machines/"))).key
    store.write(key, b"rubbish")
    assert list(machines(store, "run-1")) == []
    assert cost_so_far(store, "run-1", 9000.0) == 0


class Counting(FolderStore):
    """A store that counts what is read."""

    reads = 0

    def read(self, key, start=0, length=None):
        self.reads += 1
        return super().read(key, start, length)


def test_a_sign_of_life_reads_nothing_unless_somebody_else_has_written(tmp_path: Path) -> None:
    """And then says no less than they did."""
    store = Counting({"path": str(tmp_path)})
    machine = intend(store, "run-1", CHEAP, 0, 1000.0).value.id
    first = beat(store, "run-1", machine)
    store.reads = 0
    second = beat(store, "run-1", machine, first)
    assert store.reads == 0
    launched(store, "run-1", machine, "i-1")
    third = beat(store, "run-1", machine, second)
    assert (third.value.beats, third.value.handle) == (3, "i-1")
    gone(store, "run-1", machine, 2000.0)
    with pytest.raises(ConflictError, match="given up"):
        beat(store, "run-1", machine, third)
