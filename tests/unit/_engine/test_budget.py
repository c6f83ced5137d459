"""A run is told to stop once, when its machines have cost what it may."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dstack_local.store import FolderStore

from dstack_core._engine.budget import keep_to_budget
from dstack_core._ledger.records import MachineRecord, RunRecord
from dstack_core._ledger.runs import ask_to_end, create_run, read_run
from dstack_core.models import Offer

HOUR = [MachineRecord("0-a", "", "box", Offer("box", "large", 8, 1 << 30, price=2.0), created=0.0)]


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore({"path": str(tmp_path)})


def view_of(store: FolderStore, **more: Any) -> Any:
    run = create_run(store, RunRecord("", "me/repo", "me", "train", "", 0.0, "far", **more)).value
    view = SimpleNamespace(store=store, run=run)
    view.refresh = lambda: setattr(view, "run", read_run(store, run.name).value)
    return view


@pytest.mark.parametrize(("budget", "desired"), [(None, None), (2.1, None), (2.0, "stop"), (0.01, "stop")])
def test_when(store, budget, desired):
    view = view_of(store, budget=budget)
    keep_to_budget(view, HOUR, 3600.0)
    assert view.run.desired == desired
    assert view.run.reason == (f"its budget of {budget:g} USD is spent" if desired else None)


def test_what_a_user_asked_for_stands(store):
    view = view_of(store, budget=1.0)
    ask_to_end(store, view.run.name, "abort")
    view.refresh()
    keep_to_budget(view, HOUR, 3600.0)
    assert (view.run.desired, view.run.reason) == ("abort", None)
