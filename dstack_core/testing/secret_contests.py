"""What processes do at the same time in the secret store suite. Apart from it, so that they start without pytest."""

from __future__ import annotations

from collections.abc import Callable

from dstack_core.secret_store import SecretStore

OpenStore = Callable[[], SecretStore]


def put_own(open_store: OpenStore, me: int, times: int) -> None:
    """Put secrets of one's own, again and again, and delete every other one."""
    store = open_store()
    for n in range(times):
        store.put(f"ann/repo{me % 2}", f"SECRET_{me}_{n}", f"value {n} of {me}")
        store.put("ann/shared", "SHARED", f"by {me}")
        if n % 2:
            store.delete(f"ann/repo{me % 2}", f"SECRET_{me}_{n}")


def put_for_ever(open_store: OpenStore) -> None:
    """Replace a secret by many `a`s, by many `b`s, by many `a`s ... until killed."""
    store = open_store()
    while True:
        for letter in "ab":
            store.put("ann/repo", "NAME", letter * 10_000)
