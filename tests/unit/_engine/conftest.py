"""A store, and a backend whose machines are only names."""

from __future__ import annotations

import pytest
from dstack_local.store import FolderStore

from dstack_core.backend import Backend, Offers
from dstack_core.models import Offer

OFFER = Offer("box", "box", 2.0, 1 << 33)


class Box(Backend):
    """Machines that are only names in a set; `ended` are those that were told to end."""

    def __init__(self, *up: str) -> None:
        self.up = set(up)
        self.ended: list[str] = []

    def offers(self, requirements):
        return Offers((OFFER,))

    def launch(self, offer, launch):
        self.up.add(launch.machine)
        return "handle"

    def state(self, machine, handle):
        return "up" if machine in self.up else "gone"

    def machines(self):
        return sorted(self.up)

    def terminate(self, machine, handle):
        self.up.discard(machine)
        self.ended.append(machine)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


@pytest.fixture
def new_box():
    """Makes such a backend, with the machines that are up."""
    return Box
