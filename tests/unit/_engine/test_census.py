"""What records tell of, what they do not explain, and what is so for long enough to be ended."""

from __future__ import annotations

import json
import os
import time

import pytest

from dstack_core._engine.census import NEW, OVERDUE, census, end_all
from dstack_core._engine.looks import APART, look
from dstack_core._ledger.documents import create
from dstack_core._ledger.identity import store_id
from dstack_core._ledger.idle import IdleMachine, forget, idle_machines, offer_itself, take
from dstack_core._ledger.machines import gone, intend, machine_key
from dstack_core._ledger.records import RunRecord
from dstack_core._ledger.runs import run_key
from dstack_core.backend import Leftover
from dstack_core.errors import StoreError
from dstack_core.home import dstack_home
from dstack_core.models import Offer

OFFER = Offer("box", "box", 2.0, 1 << 33, price=0.5)


@pytest.fixture
def backend(new_box):
    """With what a test says it has."""

    class Keeper(new_box):
        def __init__(self):
            super().__init__()
            self.has: list[Leftover] = []

        def leftovers(self):
            return self.has

        def end(self, leftover):
            if leftover.id == "stubborn":
                raise StoreError("no")
            self.ended.append(leftover.id)

    return Keeper()


@pytest.fixture
def run(store):
    store.write("index/active/a-b/x-1", b"")
    create(store, run_key("x-1"), RunRecord("x-1", "a-b", "ann", "train", "", time.time(), "box"))
    return "x-1"


@pytest.fixture
def machine(store, run):
    return intend(store, run, OFFER, 0, time.time()).value


def of(store, machine, kind="machine", run="x-1", **fields):
    return Leftover(kind, fields.pop("id", "i-1"), machine, run, store_id(store), **fields)


def test_machines_of_active_runs_are_told_without_asking_for_leftovers(store, machine, new_box):
    found = census(store, new_box())
    assert (list(found.machines), list(found.unexplained)) == ([machine], [])


def test_what_has_a_live_record_is_explained(store, machine, backend):
    backend.has = [of(store, machine.id), of(store, machine.id, "disk", id="vol-1"), of(store, machine.id, "request")]
    found = census(store, backend)
    assert (list(found.machines), list(found.unexplained)) == ([machine], [])


def test_a_machine_that_the_backend_does_not_have_is_lost_after_a_while(store, run, backend, new_box):
    new = intend(store, run, OFFER, 0, time.time()).value
    old = intend(store, run, OFFER, 1, time.time() - NEW - 1).value
    there = intend(store, run, OFFER, 2, time.time() - NEW - 1).value
    backend.has = [of(store, there.id), of(store, old.id, "disk", id="vol-1")]
    assert census(store, backend).lost == {old.id}
    assert new.id in {one.id for one in census(store, backend).machines}
    assert not census(store, new_box()).lost, "who does not tell what there is does not tell what is not"


def test_a_machine_whose_run_is_not_active_any_more_is_told(store, backend):
    machine = intend(store, "old-1", OFFER, 0, time.time()).value
    backend.has = [of(store, machine.id, run="old-1")]
    assert list(census(store, backend).machines) == [machine]


def test_a_machine_that_waits_for_another_run_is_explained(store, backend):
    over = intend(store, "old-1", OFFER, 0, time.time()).value
    gone(store, "old-1", over.id, time.time())
    waiting = IdleMachine(over.id, "old-1", OFFER, "i-1", "kind", time.time(), time.time() + 60)
    document = offer_itself(store, waiting)
    backend.has = [of(store, over.id, run="old-1"), of(store, over.id, "disk", run="old-1", id="vol-1")]
    found = census(store, backend)
    assert (list(found.machines), list(found.unexplained), list(found.idle)) == ([], [], [waiting])
    taken = take(store, document, "x-1", 0, time.time())
    forget(store, over.id)
    store.write("index/active/a-b/x-1", b"")
    create(store, run_key("x-1"), RunRecord("x-1", "a-b", "ann", "train", "", time.time(), "box"))
    found = census(store, backend)
    assert (list(found.machines), list(found.unexplained), list(found.idle)) == ([taken], [], [])


def test_a_machine_that_ended_while_it_waited_is_forgotten(store, backend):
    offer_itself(store, IdleMachine("0-abc", "old-1", OFFER, "i-1", "kind", time.time(), time.time() + 60))
    assert list(census(store, backend).idle) == []
    assert list(idle_machines(store)) == []


def test_one_that_should_have_stopped_waiting_long_ago_is_left_behind(store, backend):
    long_ago = time.time() - OVERDUE - 1
    offer_itself(store, IdleMachine("0-abc", "old-1", OFFER, "i-1", "kind", long_ago - 60, long_ago))
    backend.has = [of(store, "0-abc", run="old-1")]
    assert list(census(store, backend).unexplained) == backend.has


def test_what_no_live_record_explains_is_left_behind(store, machine, backend):
    over = intend(store, "x-1", OFFER, 1, time.time()).value
    gone(store, "x-1", over.id, time.time())
    other_id = machine.id.partition("-")[0] + "-" + "0" * 16
    backend.has = [
        of(store, over.id, id="of a machine that is gone"),
        of(store, "7-x", id="of none"),
        of(store, "", id="unlabelled"),
        of(store, "0-x", run="", id="of no run"),
        of(store, other_id, id="of another machine of this number"),
    ]
    assert list(census(store, backend).unexplained) == backend.has


def test_a_damaged_record_explains_its_machine(store, machine, backend):
    store.write(machine_key("x-1", machine.id), b"{")
    backend.has = [of(store, machine.id)]
    found = census(store, backend)
    assert not found.unexplained
    assert [one.id for one in found.machines] == [machine.id]


def test_things_of_another_store_are_only_counted(store, backend):
    backend.has = [Leftover("machine", "i-1", "0-x", "x-1", "another store"), Leftover("disk", "vol-1", "0-y", "x-1")]
    found = census(store, backend)
    assert (list(found.unexplained), found.foreign) == ([], 2)


def test_what_cannot_be_ended_does_not_keep_the_others(store, backend):
    several = [of(store, "0-x", id="stubborn"), of(store, "0-x", id="i-2")]
    assert [(one.id, error and error.message) for one, error in end_all(backend, several)] == [
        ("stubborn", "no"), ("i-2", None),
    ]  # fmt: skip
    assert backend.ended == ["i-2"]


# --- looks ---


def age(seconds):
    """Make all that was seen be seen so much earlier."""
    (path,) = (dstack_home() / "looks").glob("*.json")
    path.write_text(json.dumps({name: when - seconds for name, when in json.loads(path.read_text()).items()}))


def test_two_looks_apart_make_it_ripe(store):
    lost = [of(store, "0-x")]
    assert look("aws", lost) == []
    assert look("aws", lost) == []
    age(APART)
    assert look("aws", lost) == lost
    assert look("other", lost) == []


def test_what_was_explained_meanwhile_begins_anew(store):
    lost = [of(store, "0-x")]
    look("aws", lost)
    age(APART)
    assert look("aws", []) == []
    assert look("aws", lost) == []


def test_a_clock_that_was_set_back_only_delays(store):
    lost = [of(store, "0-x")]
    look("aws", lost)
    age(-1000)
    assert look("aws", lost) == []
    age(APART)
    assert look("aws", lost) == lost


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"a": "b"}', b"\xff"])
def test_a_damaged_memory_is_none(store, damage):
    lost = [of(store, "0-x")]
    look("aws", lost)
    age(APART)
    (path,) = (dstack_home() / "looks").glob("*.json")
    path.write_bytes(damage)
    assert look("aws", lost) == []
    assert os.listdir(path.parent) == [path.name]
