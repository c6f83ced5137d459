"""Listings that are asked for before they are needed, side by side: a store far away takes its time for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final, Generic, TypeVar

from dstack_core.artifact_store import ANY, ArtifactStore, Object, ObjectInfo, SupportsPath
from dstack_core.errors import StoreError

T = TypeVar("T")
PATIENCE: Final = 4.0
"""Seconds for which a command waits for the first answer of a store that it can do without."""


class Ahead(ArtifactStore):
    """A store of which some listings have begun. Each is used once; everything else goes to the store itself.

    A store of files of this machine is asked when it is needed: it answers at once.
    """

    def __init__(self, store: ArtifactStore, prefixes: Sequence[str]) -> None:
        self._store = store
        near = isinstance(store, SupportsPath)
        self._begun = {} if near else {prefix: _begun(store, prefix) for prefix in prefixes}

    @property
    def location(self) -> str:
        """See `ArtifactStore.location`."""
        return self._store.location

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """See `ArtifactStore.list`."""
        begun = None if after else self._begun.pop(prefix, None)
        return begun.result() if begun else self._store.list(prefix, after)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Object:
        """See `ArtifactStore.read`."""
        return self._store.read(key, start, length)

    def write(self, key: str, data: bytes | memoryview, expect: str = ANY) -> str:
        """See `ArtifactStore.write`."""
        return self._store.write(key, data, expect)

    def delete(self, key: str, expect: str = ANY) -> None:
        """See `ArtifactStore.delete`."""
        self._store.delete(key, expect)

    def exists(self, key: str) -> bool:
        """See `ArtifactStore.exists`."""
        return self._store.exists(key)


class Begun(Generic[T]):
    """A question that is asked by a thread of its own. One that is never answered holds up no end of the program."""

    def __init__(self, ask: Callable[[], T], whom: str) -> None:
        self._ask = ask
        self._whom = whom
        self._answers: list[T] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._begin, daemon=True)
        self._thread.start()

    def result(self) -> T:
        """The answer. Raises what was raised, and StoreError if there is none within `PATIENCE`."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            hint = "--offline, or dstack config set offline true: look only here"
            raise StoreError(f"no answer within {PATIENCE:g} s", where=self._whom, hint=hint)
        if self._failure is not None:
            raise self._failure
        return self._answers[0]

    def _begin(self) -> None:
        try:
            self._answers.append(self._ask())
        except BaseException as failure:
            self._failure = failure


def within_patience(store: ArtifactStore, ask: Callable[[], T]) -> T:
    """What `ask` gives that asks `store`, which may not answer. Raises as `Begun.result` does."""
    return ask() if isinstance(store, SupportsPath) else Begun(ask, store.location).result()


def _begun(store: ArtifactStore, prefix: str) -> Begun[Iterator[ObjectInfo]]:
    """A listing whose first answer is on its way."""

    def ask() -> Iterator[ObjectInfo]:
        listing = iter(store.list(prefix))
        first = next(listing, None)
        return listing if first is None else chain([first], listing)

    return Begun(ask, store.location)
