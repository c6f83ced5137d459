"""Machines that wait for another run: taken once, or ended."""

from __future__ import annotations

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.idle import IdleMachine, end, forget, idle_machines, look, offer_itself, take
from dstack_core._ledger.machines import intend, machines
from dstack_core.errors import ConflictError
from dstack_core.models import Offer

OFFER = Offer("box", "box", 2.0, 1 << 33, price=0.5)
IDLE = IdleMachine("0-abc", "old-1", OFFER, "i-1", "kind", 100.0, 700.0)


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


def test_a_run_takes_a_machine(store):
    document = offer_itself(store, IDLE)
    assert [found.value for found in idle_machines(store)] == [IDLE]
    record = take(store, document, "new-1", 3, 200.0)
    assert record.id.startswith("3-")
    assert (record.run, record.label, record.handle, record.offer) == ("new-1", "0-abc", "i-1", OFFER)
    assert (record.status, record.created) == ("intent", 200.0)
    assert [found.value for found in machines(store, "new-1")] == [record]
    assert look(store, "0-abc").value.taken == f"new-1 {record.id}"


def test_one_of_two_takes_it(store):
    document = offer_itself(store, IDLE)
    take(store, document, "new-1", 0, 200.0)
    with pytest.raises(ConflictError):
        take(store, document, "new-2", 0, 200.0)
    assert list(machines(store, "new-2")) == []


def test_it_is_given_back_by_a_run_that_has_a_machine_of_that_number(store):
    intend(store, "new-1", OFFER, 0, 150.0)
    document = offer_itself(store, IDLE)
    with pytest.raises(ConflictError):
        take(store, document, "new-1", 0, 200.0)
    assert look(store, "0-abc").value == IDLE


def test_it_ends_or_is_taken(store):
    document = offer_itself(store, IDLE)
    end(store, document)
    assert look(store, "0-abc") is None
    with pytest.raises(ConflictError):
        take(store, document, "new-1", 0, 200.0)
    document = offer_itself(store, IDLE)
    take(store, document, "new-1", 0, 200.0)
    with pytest.raises(ConflictError):
        end(store, document)
    forget(store, "0-abc")
    assert list(idle_machines(store)) == []


def test_a_later_wait_replaces_what_an_earlier_one_left(store):
    take(store, offer_itself(store, IDLE), "new-1", 0, 200.0)
    again = offer_itself(store, IDLE)
    assert again.value.taken == ""
    assert take(store, again, "new-2", 0, 300.0).run == "new-2"
