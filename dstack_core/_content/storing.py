"""Storing the bytes of files: small ones in packs, large ones in parts, equal ones once."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import PART, Extent, blob_key, parts_digest, zeros_digest
from dstack_core._content.packs import PackIndex, publish_index
from dstack_core._content.reading import Holes, parts_of, read_hashed, stable
from dstack_core._content.work import THREADS, Crew
from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError

if TYPE_CHECKING:
    from concurrent.futures import Future

_PACK: Final = 8 * 1024 * 1024
_ALONE: Final = 2  # so few new small files become objects of their own: a pack would cost one write more
_FEW: Final = 64 * 1024  # bytes that are not worth asking the pack index for
_FRESH: Final = 30.0  # seconds for which the packs of other machines need not be listed again

_refreshed: dict[str, float] = {}


class Stored(NamedTuple):
    """A file's digest, and where its bytes are."""

    digest: str
    size: int
    extents: tuple[Extent, ...]


class Part:
    """A part of a large file: where it is in the file, and, once that is known, its digest and whether it is zeros."""

    __slots__ = ("digest", "length", "start", "zeros")

    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.length = length
        self.digest = b""
        self.zeros = False

    def skip(self, holes: Holes) -> bool:
        """Whether it is a hole, and so need not be read."""
        self.zeros = holes.cover(self.start, self.length)
        if self.zeros:
            self.digest = zeros_digest(self.length)
        return self.zeros


class Storing:
    """Stores contents for one tree. `new_bytes` counts what was not in the store before; `damage`: what of it is known
    to be damaged."""

    def __init__(self, store: ArtifactStore, crew: Crew, progress: Callable[[int], None]) -> None:
        self.store = store
        self.new_bytes = 0
        self._crew = crew
        self.progress = progress
        self.damage = KnownDamage(store)
        self._index = PackIndex(store)
        self._lock = threading.Lock()
        self._present: dict[str, bool] = {}
        self._buffers = threading.local()
        self._slots = threading.Semaphore(2)  # packs on their way
        self._where: dict[bytes, Extent] = {}
        self._pending: dict[bytes, bytes] = {}
        self._size = 0
        self._packs: list[tuple[str, dict[bytes, tuple[int, int]]]] = []

    def present(self, digest: str) -> bool:
        """Whether the object is in the store, and not known to be damaged; asked once."""
        known = self._present.get(digest)
        if known is None:
            known = self._present[digest] = self.store.exists(blob_key(digest)) and digest not in self.damage
        return known

    def close(self) -> None:
        """Free the index, and what is known of small files."""
        self._index.close()
        self._where = {}

    # --- small files ---

    def add_small(self, data: bytes) -> bytes:
        """Take a small file's bytes; returns their digest. `finish_small` tells where they went."""
        digest = hashlib.sha256(data).digest()
        if digest not in self._where and digest not in self._pending and data:
            self._pending[digest] = data
            self._size += len(data)
            if self._size >= _PACK:
                self._drop_known()
                if self._size >= _PACK // 2:
                    self._flush()
        return digest

    def find_small(self, digests: Iterable[bytes]) -> dict[bytes, Extent]:
        """Those of these small files that the store has already: their bytes need not be taken."""
        self._refresh()
        found = {d: x for d, x in self._index.find(digests).items() if self.present(x.object)}
        self._where.update(found)
        return found

    def finish_small(self) -> dict[bytes, Extent]:
        """Store what is left; returns where each small file's bytes are. They are stored when the crew is done."""
        if self._size > _FEW or len(self._pending) > _ALONE:
            self._drop_known()
        if len(self._pending) <= _ALONE:
            for digest, data in self._pending.items():
                self._where[digest] = Extent(digest.hex(), 0, len(data))
                self.put(digest.hex(), data)
                self.progress(len(data))
            self._pending.clear()
        else:
            self._flush()
        for pack, files in self._packs:
            self._index.add(pack, files)
        return self._where

    def _drop_known(self) -> None:
        """Forget pending bytes that some pack has already."""
        self._refresh()
        for digest, extent in self._index.find(self._pending).items():
            if self.present(extent.object):
                self._where[digest] = extent
                size = len(self._pending.pop(digest))
                self._size -= size
                self.progress(size)

    def _refresh(self) -> None:
        if time.monotonic() - _refreshed.get(self.store.location, -_FRESH) >= _FRESH:
            self._index.refresh()
            _refreshed[self.store.location] = time.monotonic()

    def _flush(self) -> None:
        if not self._pending:
            return
        self._slots.acquire()
        data = b"".join(self._pending.values())
        pack = hashlib.sha256(data).hexdigest()
        files = {}
        offset = 0
        for digest, content in self._pending.items():
            files[digest] = (offset, len(content))
            self._where[digest] = Extent(pack, offset, len(content))
            offset += len(content)
        self._pending = {}
        self._size = 0
        self._packs.append((pack, files))

        def send() -> None:
            try:
                self.put(pack, data)
                publish_index(self.store, pack, files)
            finally:
                self._slots.release()
            self.progress(len(data))

        self._crew.call(send)

    # --- large files ---

    def store_large(self, path: bytes, alone: bool) -> tuple[Stored, os.stat_result]:
        """Store a file's parts; returns where, and the file's status then. Raises as `stable` does.

        `alone`: the caller is the only one at work, so the parts may go side by side.
        """
        return stable(path, self._store_side_by_side if alone else self._store_in_turn)

    def _store_in_turn(self, fd: int, status: os.stat_result) -> Stored:
        holes = Holes(fd, status)
        parts = [Part(*p) for p in parts_of(status.st_size)]
        for part in parts:
            if not part.skip(holes):
                self._store_part(fd, part)
        return _stored(status.st_size, parts)

    def _store_side_by_side(self, fd: int, status: os.stat_result) -> Stored:
        holes = Holes(fd, status)
        parts = [Part(*p) for p in parts_of(status.st_size)]
        window = threading.Semaphore(2 * THREADS)
        going: list[Future[None]] = []

        def store(part: Part) -> None:
            try:
                self._store_part(fd, part)
            finally:
                window.release()

        try:
            for part in parts:
                if not part.skip(holes):
                    window.acquire()
                    # Only what succeeded is let go: what fails between these two looks must still be seen below.
                    going = [f for f in going if not f.done() or f.exception()]
                    if any(f.done() and f.exception() for f in going):
                        break
                    going.append(self._crew.start(partial(store, part)))
        finally:
            failures = [f.exception() for f in going]  # waits: no thread may use `fd` once it is closed
        for failure in failures:
            if failure:
                raise failure
        return _stored(status.st_size, parts)

    def _store_part(self, fd: int, part: Part) -> None:
        view = self._buffer()[: part.length]
        n, part.digest = read_hashed(fd, view, part.start)
        part.zeros = part.length == PART and part.digest == zeros_digest(PART)
        if n == part.length and not part.zeros:
            self.put(part.digest.hex(), view)
        self.progress(n)

    def _buffer(self) -> memoryview:
        if not hasattr(self._buffers, "view"):
            self._buffers.view = memoryview(bytearray(PART))
        view: memoryview = self._buffers.view
        return view

    def put(self, digest: str, data: bytes | memoryview) -> None:
        """Store an object unless it is there; in the place of one that is damaged."""
        if self.present(digest):
            return
        try:
            self.store.write(blob_key(digest), data, ABSENT)
            with self._lock:
                self.new_bytes += len(data)
        except ConflictError:
            if digest in self.damage:
                self.store.write(blob_key(digest), data)
                self.damage.repaired(digest)
        self._present[digest] = True


def _stored(size: int, parts: list[Part]) -> Stored:
    digests = [part.digest for part in parts]
    if len(parts) > 1:
        digest = parts_digest(digests)
    else:
        digest = digests[0].hex() if parts else hashlib.sha256().hexdigest()
    return Stored(digest, size, _extents(parts))


def _extents(parts: list[Part]) -> tuple[Extent, ...]:
    extents: list[Extent] = []
    for part in parts:
        length = part.length
        if part.zeros:
            if extents and not extents[-1].object:
                length += extents.pop().length
            extents.append(Extent("", 0, length))
        else:
            extents.append(Extent(part.digest.hex(), 0, length))
    return tuple(extents)
