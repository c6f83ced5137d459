"""Public keys in the store, as whoever may write there may have left them."""

from __future__ import annotations

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.entrances import Entrance, admit, admitted, announce, find_entrance, public_key
from dstack_core._ledger.records import RunRecord
from dstack_core._ledger.runs import create_run, finish_run, read_run

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7L5lMYz3C0v3oVq2PyLr6W0m0jYcT6Qw9U0aJ5b1Zx"


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


def test_a_key_is_admitted_once_and_found_without_its_comment(store):
    for _ in range(2):
        admit(store, "run-1", f"{KEY} me in run-1\n")
    admit(store, "run-10", f"{KEY} me in run-10\n")
    (name,) = admitted(store, "run-1")
    assert public_key(store, name) == KEY


@pytest.mark.parametrize(
    "line",
    [f'command="evil" {KEY}', f"restrict {KEY}", "", "nonsense", "ssh-ed25519", f"cert-authority {KEY}", f"{KEY};x y",
     f"\n{KEY}", "ssh-dss AAAA", "\x00\xff"],
)  # fmt: skip
def test_what_is_no_key_lets_nobody_in(store, line):
    """Options before a key could let more happen than a key may; lines after it, others in."""
    store.write("runs/r/keys/x", line.encode("utf-8", "surrogateescape"))
    assert public_key(store, "runs/r/keys/x") is None


def test_lines_after_a_key_are_not_taken(store):
    store.write("runs/r/keys/x", f"{KEY} comment\n{KEY[:-1]}y\n".encode())
    assert public_key(store, "runs/r/keys/x") == KEY
    assert public_key(store, "runs/r/keys/gone") is None


def test_where_a_machine_is_entered_may_change(store):
    """With the next runner there."""
    here = Entrance("0-ab", 2222, KEY, "root", "/var/lib/dstack", "/usr/bin/python3", "team")
    assert find_entrance(store, "r", "0-ab") is None
    announce(store, "r", here)
    announce(store, "r", here)
    assert find_entrance(store, "r", "0-ab") == here
    there = Entrance("0-ab", 2223, KEY, "root", "/var/lib/dstack", "/usr/bin/python3", "team")
    announce(store, "r", there)
    assert find_entrance(store, "r", "0-ab") == there


def test_the_runs_record_tells_its_machines_of_each_new_key_while_it_runs(store):
    draft = RunRecord("", "me/x", "me", "work", "0" * 64, 1000.0, "team")
    run = create_run(store, draft).value.name
    for comment in ("ann", "ann", "bob"):
        admit(store, run, f"{KEY} {comment}")
    assert read_run(store, run).value.callers == 2
    finish_run(store, run, "done", 0, 2000.0)
    admit(store, run, f"{KEY} carol")
    assert len(admitted(store, run)) == 3
    assert read_run(store, run).value.callers == 2
