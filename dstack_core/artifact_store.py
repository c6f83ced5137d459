"""The contract of an artifact store: a small object store with conditional writes.

Keys are `/`-separated segments of `[A-Za-z0-9._%=+-]`, at most 512 bytes; core makes them, and encodes users' names.
No segment is `.`, `..` or longer than 255 bytes, and no key is the folder of another (`a` beside `a/b`), so that a
folder of files is a store.
Core keeps everything here: code, artifacts, logs, records. It relies on four things, which the conformance suite
(`dstack_core.testing.artifact_store`) checks:

1. A write is whole or not there, and durable when `write` returns.
2. A conditional write has exactly one winner among concurrent writers, in any number of processes.
3. A read after a write sees it; a list after a write has it.
4. `list` is complete, however many keys there are, in ascending order of the key's bytes.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from dstack_core.errors import NotFoundError

ANY: Final = "*any*"
"""`expect=ANY`: write or delete whatever is there."""
ABSENT: Final = "*absent*"
"""`expect=ABSENT`: write only if nothing is there."""


@dataclass(frozen=True)
class Object:
    """What a read returns. `version` names these bytes: pass it as `expect` to replace exactly them."""

    data: bytes
    version: str


@dataclass(frozen=True)
class ObjectInfo:
    """One line of a listing. `stamp` differs whenever the object was written anew; it is not a version."""

    key: str
    size: int
    stamp: str


class ArtifactStore(abc.ABC):
    """One artifact store, opened. Safe for use by several threads."""

    @property
    @abc.abstractmethod
    def location(self) -> str:
        """Which store this is, for people and for naming local caches of it: a path or URL without secrets."""

    @abc.abstractmethod
    def read(self, key: str, start: int = 0, length: int | None = None) -> Object:
        """The object's bytes, or a range of them (short when it ends sooner). `version` is of the whole object;
        it may be empty for a ranged read.

        Raises:
            NotFoundError: there is no such object.
            StoreError: it cannot be read.
        """

    @abc.abstractmethod
    def write(self, key: str, data: bytes | memoryview, expect: str = ANY) -> str:
        """Store `data` and return its version; durable on return.

        Raises:
            ConflictError: `expect` is ABSENT and the object exists, or is a version that it no longer has.
            StoreError: it cannot be written; nothing changed that a reader can see.
        """

    @abc.abstractmethod
    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix` and sorts after `after`, in ascending order, fetched as needed.
        `prefix` is empty or ends in `/`."""

    @abc.abstractmethod
    def delete(self, key: str, expect: str = ANY) -> None:
        """Remove the object; removing what is not there is no error.

        Raises:
            ConflictError: `expect` is a version that the object does not have.
        """

    def exists(self, key: str) -> bool:
        """Whether the object is there. Override when there is a cheaper way than reading one byte."""
        try:
            self.read(key, 0, 1)
        except NotFoundError:
            return False
        return True


@runtime_checkable
class SupportsAppend(Protocol):
    """An artifact store whose objects can grow: logs are then written as they come, without an object per flush."""

    def append(self, key: str, data: bytes, offset: int, last: bool = False) -> None:
        """Add `data` at `offset`, the object's present size; made if `offset` is 0. `last`: make it durable.

        Raises:
            ConflictError: the object has another size.
        """


@runtime_checkable
class SupportsPath(Protocol):
    """An artifact store whose objects are files of this machine: the system can copy them, or share their blocks."""

    def path(self, key: str) -> Path:
        """Where the object's bytes are (or would be). For reading only."""


@runtime_checkable
class SupportsLinks(Protocol):
    """An artifact store whose objects have addresses for those who may not use the store: machines that start."""

    def link(self, key: str, seconds: float, *, write: bool = False) -> str:
        """A URL (http or https) at which whoever has it can GET the object, for at least so many seconds unless the
        credentials that it was made with end before; with `write`, PUT one there, which is then as any other.

        Raises:
            StoreError: none can be made.
        """
