"""Which waiting machine a run takes."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dstack_core._engine.idle import MARGIN, take_idle
from dstack_core._ledger.idle import IdleMachine, offer_itself, take
from dstack_core._ledger.machines import intend
from dstack_core.models import Offer, Requirements

OFFER = Offer("box", "box", 2.0, 1 << 33, price=0.5)


@pytest.fixture
def idle():
    return IdleMachine("0-abc", "old-1", OFFER, "i-1", "kind", time.time(), time.time() + 60)


@pytest.fixture
def engine(store, new_box):
    """Whose machines are of kind `kind`, and are computers of their own."""
    backend = new_box("0-abc")
    backend.distant = True
    return SimpleNamespace(store=store, backend=backend, prepare=lambda: SimpleNamespace(kind="kind"))


def test_one_that_fits_is_taken_once(engine, store, idle):
    offer_itself(store, idle)
    taken = take_idle(engine, "new-1", Requirements(cpu=2.0), 4)
    assert (taken.id.partition("-")[0], taken.label) == ("4", "0-abc")
    assert take_idle(engine, "new-2", Requirements(cpu=2.0), 0) is None


@pytest.mark.parametrize(
    ("differs", "wanted"),
    [
        ({}, Requirements(cpu=4.0)),
        ({}, Requirements(max_price=0.1)),
        ({"kind": "another"}, Requirements()),
        ({"until": time.time() + MARGIN / 2}, Requirements()),
        ({"taken": "x-1 0-def"}, Requirements()),
        ({"label": "0-gone"}, Requirements()),
    ],
)
def test_one_that_does_not_fit_is_left(engine, store, idle, differs, wanted):
    document = offer_itself(store, replace(idle, **differs))
    assert take_idle(engine, "new-1", wanted, 0) is None
    if not differs.get("taken"):
        assert take(store, document, "new-1", 0, time.time())


def test_the_next_is_taken_when_somebody_is_faster(engine, store, idle):
    offer_itself(store, idle)
    intend(store, "new-1", OFFER, 0, time.time())  # by another command, for the same run
    assert take_idle(engine, "new-1", Requirements(), 0) is None
    assert take_idle(engine, "new-1", Requirements(), 1) is not None


def test_nothing_is_asked_on_this_computer(engine, store, idle):
    offer_itself(store, idle)
    engine.backend.distant = False
    assert take_idle(engine, "new-1", Requirements(), 0) is None
