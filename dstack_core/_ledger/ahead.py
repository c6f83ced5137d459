"""Listings that are asked for before they are needed, side by side: a store far away takes its time for each."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import chain

from dstack_core.artifact_store import ANY, ArtifactStore, Object, ObjectInfo, SupportsPath


class Ahead(ArtifactStore):
    """A store of which some listings have begun. Each is used once; everything else goes to the store itself.

    A store of files of this machine is asked when it is needed: it answers at once.
    """

    def __init__(self, store: ArtifactStore, prefixes: Sequence[str]) -> None:
        self._store = store
        near = isinstance(store, SupportsPath)
        self._begun = {} if near else {prefix: _Begun(store, prefix) for prefix in prefixes}

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


class _Begun:
    """A listing whose first answer is on its way."""

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        self._listing = iter(store.list(prefix))
        self._first: list[ObjectInfo] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._begin, daemon=True)
        self._thread.start()

    def result(self) -> Iterator[ObjectInfo]:
        """All of it. Raises what the store raised."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return chain(self._first, self._listing)

    def _begin(self) -> None:
        try:
            self._first.extend([first] if (first := next(self._listing, None)) else [])
        except BaseException as failure:
            self._failure = failure
