"""People are let in when they have left a key, of which the run's record tells."""

from __future__ import annotations

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.entrances import Entrance, find_entrance
from dstack_core._runner import reception
from dstack_core._runner.reception import Reception
from dstack_core.testing.waiting import until

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7L5lMYz3C0v3oVq2PyLr6W0m0jYcT6Qw9U0aJ5b1Zx"


class Noting(FolderStore):
    """A store that counts listings."""

    listed = 0

    def list(self, prefix, after=""):
        yield from super().list(prefix, after)
        self.listed += 1


class Server:
    """Stands in for one that anybody could come to."""

    port, host_key = 2222, "ssh-ed25519 AAAA"

    def __init__(self, folder, user):
        self.runs = False
        self.looks = 0
        self.admitted = []

    def admit(self, keys):
        self.admitted.append(list(keys))

    def start(self):
        self.runs = True

    def stop(self):
        self.runs = False


@pytest.fixture
def come(tmp_path, monkeypatch):
    """A reception; its store, server, and what the run's record says of callers."""
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path))
    monkeypatch.setattr(reception, "Sshd", Server)
    monkeypatch.setattr(reception, "LOOK", 0.01)
    store, calls = Noting({"path": str(tmp_path / "store")}), [0]
    one = Reception(store, "run", "0-x", "team", lambda: calls[0])
    yield store, one, calls
    one.close()


def test_keys_are_looked_for_at_first_and_when_the_record_tells_of_one(come):
    store, one, calls = come
    until(lambda: store.listed == 1, "a first look", 30)
    store.write("runs/run/keys/k", KEY.encode())
    calls[0] = 1
    until(lambda: find_entrance(store, "run", "0-x"), "a way in", 30)
    assert store.listed == 2  # however often it has looked whether somebody has called
    assert one._sshd.admitted == [[KEY]]
    assert isinstance(find_entrance(store, "run", "0-x"), Entrance)


def test_who_left_a_key_and_told_nobody_is_let_in_later(come, monkeypatch):
    store, one, _ = come
    monkeypatch.setattr(reception, "SELDOM", 0.05)
    store.write("runs/run/keys/k", KEY.encode())
    until(lambda: one._sshd.admitted, "a look that nobody asked for", 30)


def test_a_server_that_has_ended_is_started_again(come):
    store, one, calls = come
    store.write("runs/run/keys/k", KEY.encode())
    calls[0] = 1
    until(lambda: one._sshd.runs, "the server", 30)
    one._sshd.runs = False
    until(lambda: one._sshd.runs, "the server again", 30)
    assert store.listed <= 2
