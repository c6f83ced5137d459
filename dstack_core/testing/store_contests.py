"""What processes do at the same time in the store suite. Apart from it, so that they start without pytest."""

from __future__ import annotations

from collections.abc import Callable

from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError

OpenStore = Callable[[], ArtifactStore]


def create(open_store: OpenStore, me: int, rounds: int) -> list[int]:
    """Try to be the one who creates `race/<round>`; the rounds won."""
    store = open_store()
    won = []
    for n in range(rounds):
        try:
            store.write(f"race/{n}", str(me).encode(), ABSENT)
        except ConflictError:
            continue
        won.append(n)
    return won


def count_up(open_store: OpenStore, times: int) -> None:
    """Add one to the counter `count`, `times` times, by compare-and-swap."""
    store = open_store()
    for _ in range(times):
        while True:
            now = store.read("count")
            try:
                store.write("count", str(int(now.data) + 1).encode(), now.version)
            except ConflictError:
                continue
            break


def write_for_ever(open_store: OpenStore, key: str, size: int) -> None:
    """Replace an object by `a`s, by `b`s, by `a`s ... until killed."""
    store = open_store()
    while True:
        for letter in (b"a", b"b"):
            store.write(key, letter * size)
