"""JSON documents in an artifact store, changed by compare-and-swap only.

Three things that every record needs: a lost answer to a write is told from a lost race (each write carries a nonce,
and whoever is told "conflict" looks whether its own bytes are there); fields that a newer dstack added survive a
rewrite; a document of a newer format is read as far as possible and never overwritten. A damaged document of a known
version can be replaced like any other: see `DamagedError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, Generic, TypeVar

from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.codec import from_plain, to_plain
from dstack_core.errors import ConflictError, NotFoundError, StoreError

FORMAT: Final = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Document(Generic[T]):
    """A document as read: its value, the version to replace, and what this dstack does not know of it."""

    key: str
    value: T
    version: str
    unknown: Mapping[str, Any]
    format: int = FORMAT


class DamagedError(StoreError):
    """The bytes there are no such document.

    Attributes:
        key: whose bytes they are.
        version: of these very bytes.
        format: what they say of their format, if they say anything: a newer dstack's may only look damaged.
    """

    def __init__(self, key: str, version: str, reason: Exception, written_as: int = FORMAT) -> None:
        super().__init__(
            f"the record {key} is damaged ({reason})", hint=f"if it stays so, remove it: {key}", lasting=True
        )
        self.key = key
        self.version = version
        self.format = written_as

    def standing_in(self, value: T) -> Document[T]:
        """A document with `value`, as if it had been read: `replace` puts another in the place of the damaged one."""
        return Document(self.key, value, self.version, {}, self.format)


def decode(cls: type[T], key: str, data: bytes, version: str) -> Document[T]:
    """Raises DamagedError naming the key when the bytes are not such a document."""
    written_as = FORMAT
    try:
        plain = json.loads(data)
        written_as = _format_of(plain)
        value = from_plain(cls, plain)
    except (ValueError, RecursionError) as error:
        raise DamagedError(key, version, error, written_as) from None
    assert is_dataclass(cls)
    known = {f.name for f in fields(cls)} | {"format", "nonce"}
    unknown = {k: v for k, v in plain.items() if k not in known}
    return Document(key, value, version, unknown, written_as)


def _format_of(plain: Any) -> int:
    written_as = plain.get("format", FORMAT) if isinstance(plain, dict) else FORMAT
    if not isinstance(written_as, int):
        raise ValueError("its format is no number")
    return written_as


def read(store: ArtifactStore, cls: type[T], key: str) -> Document[T]:
    """Raises NotFoundError, or DamagedError for a damaged document."""
    found = store.read(key)
    return decode(cls, key, found.data, found.version)


def create(store: ArtifactStore, key: str, value: T) -> Document[T]:
    """Raises ConflictError when the key is taken."""
    return _write(store, Document(key, value, ABSENT, {}))


def replace(store: ArtifactStore, document: Document[T], value: T) -> Document[T]:
    """Put `value` where `document` was read. Raises ConflictError when it has changed since."""
    if document.format > FORMAT:
        raise StoreError(f"{document.key} was written by a newer dstack", hint="pip install -U dstack-core")
    return _write(store, Document(document.key, value, document.version, document.unknown))


def update(store: ArtifactStore, cls: type[T], key: str, change: Callable[[T], T | None]) -> Document[T]:
    """Read, change, replace, again until no other writer comes between. `change` gives None to leave it as it is."""
    while True:
        document = read(store, cls, key)
        value = change(document.value)
        if value is None:
            return document
        try:
            return replace(store, document, value)
        except ConflictError:
            continue


def _write(store: ArtifactStore, document: Document[T]) -> Document[T]:
    plain = {**document.unknown, **to_plain(document.value), "format": FORMAT, "nonce": os.urandom(8).hex()}
    data = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii")
    try:
        version = store.write(document.key, data, document.version)
    except ConflictError as conflict:
        try:
            found = store.read(document.key)
        except NotFoundError:
            raise conflict from None  # with somebody who has just removed it
        if found.data != data:
            raise
        version = found.version
    return Document(document.key, document.value, version, document.unknown)
