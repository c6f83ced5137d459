"""Getting the bytes of files out of a store, each checked against its digest before anyone sees it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from dstack_core._content.entries import PACK_LIMIT, PART, Extent, TreeEntry, blob_key, parts_digest, zeros_digest
from dstack_core._content.reading import BLOCK, hash_range, read_into
from dstack_core._content.work import THREADS
from dstack_core.artifact_store import ArtifactStore, SupportsPath
from dstack_core.errors import NotFoundError, StoreError

_GAP: Final = 128 * 1024  # bytes that are read for nothing rather than asking once more


class Problem(NamedTuple):
    """A file whose bytes are not in the store as they should be. `object` is empty for the manifest itself."""

    path: str
    object: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path or 'the file'}: {self.reason}" + (f" (object {self.object})" if self.object else "")


class Damaged(Exception):
    """Stored bytes are missing or wrong."""

    def __init__(self, object: str, reason: str) -> None:  # noqa: A002
        super().__init__(reason)
        self.object = object
        self.reason = reason


def is_small(entry: TreeEntry) -> bool:
    """Whether `small_files` gives this file."""
    return entry.size <= PACK_LIMIT and len(entry.extents) <= 1 and not any(not x.object for x in entry.extents)


class Fetching:
    """Reads contents of one store.

    Attributes:
        damage: objects whose bytes were twice not those of their names; empty text: what the tree itself says.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self.damage: set[str] = set()
        self._store = store
        self._paths = store if isinstance(store, SupportsPath) else None
        self._copies = hasattr(os, "copy_file_range")
        self._writing = threading.Lock()
        self._blocks = threading.local()

    def small_files(self, entries: Iterable[TreeEntry]) -> Iterator[tuple[TreeEntry, bytes | memoryview | Problem]]:
        """Each small file's bytes, or what is wrong with them, in the order in which they are stored."""
        stored: dict[str, list[TreeEntry]] = {}
        for entry in entries:
            if entry.extents:
                stored.setdefault(entry.extents[0].object, []).append(entry)
            else:
                data = entry.inline or b""
                if hashlib.sha256(data).hexdigest() == entry.digest:
                    yield entry, data
                else:
                    self.damage.add("")
                    yield entry, Problem(entry.path, "", "its bytes are damaged")
        for name, group in stored.items():
            group.sort(key=lambda e: e.extents[0].offset)
            for span in _spans(group):
                yield from self._span(name, span)

    def _span(self, name: str, span: list[TreeEntry]) -> Iterator[tuple[TreeEntry, memoryview | Problem]]:
        start = span[0].extents[0].offset
        end = max(e.extents[0].offset + e.size for e in span)
        try:
            data = memoryview(self._read(name, start, end - start))
        except Damaged as error:
            for entry in span:
                yield entry, Problem(entry.path, name, error.reason)
            return
        sha256 = hashlib.sha256
        for entry in span:
            at = entry.extents[0].offset - start
            content = data[at : at + entry.size]
            if sha256(content).hexdigest() == entry.digest:
                yield entry, content
            else:
                yield entry, self._second_try(entry)

    def _second_try(self, entry: TreeEntry) -> memoryview | Problem:
        """Read once more: a broken line is not a broken disk."""
        name, offset, length = entry.extents[0]
        try:
            data = self._read(name, offset, length)
        except Damaged as error:
            return Problem(entry.path, name, error.reason)
        if hashlib.sha256(data).hexdigest() == entry.digest:
            return memoryview(data)
        self._confirm(name)
        return Problem(entry.path, name, "its stored bytes are damaged")

    def _confirm(self, name: str) -> None:
        """A file of the object is damaged: see whether the object is, or only what the tree says about it."""
        if name not in self.damage:
            with suppress(NotFoundError, StoreError):
                if hashlib.sha256(self._store.read(blob_key(name)).data).hexdigest() != name:
                    self.damage.add(name)
        self.damage.add("")

    def _read(self, name: str, start: int, length: int) -> bytes:
        try:
            return self._store.read(blob_key(name), start, length).data
        except NotFoundError:
            raise self._missing(name) from None
        except StoreError as error:
            raise Damaged(name, str(error)) from None

    def _missing(self, name: str) -> Damaged:
        self.damage.add("")
        return Damaged(name, "its stored bytes are missing")

    # --- large files ---

    @property
    def threads(self) -> int:
        """How many are of use for the steps of `large_file`: processors are what a store in files waits for."""
        return min(THREADS, os.cpu_count() or 1) if self._paths is not None else THREADS

    def large_file(
        self,
        entry: TreeEntry,
        fd: int,
        run: Callable[[list[Callable[[], None]]], None],
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Write a large file's bytes to the new file `fd`; `run` does the steps, in any order or side by side.
        `count` is told of each step's bytes, and may break the whole off by raising.

        Raises:
            Damaged: the stored bytes are missing or wrong; `fd` holds rubbish.
        """
        parts = parts_of(entry)
        digests = [b"" if part.object else zeros_digest(part.length) for part in parts]
        os.ftruncate(fd, entry.size)

        def step(i: int) -> None:
            digests[i] = self._part(parts[i], fd, i * PART)
            count(parts[i].length)

        run([partial(step, i) for i, part in enumerate(parts) if part.object])
        whole = digests[0].hex() if len(parts) == 1 else parts_digest(digests)
        if whole != entry.digest:
            for part, digest in zip(parts, digests, strict=True):
                if part.object and digest.hex() != part.object and part.offset == 0:
                    self._confirm(part.object)
                    raise Damaged(part.object, "its stored bytes are damaged")
            self.damage.add("")
            raise Damaged("", "its stored bytes are not the file's")

    def part(self, part: Extent) -> bytes:
        """The bytes of a part of a large file, which is an object of its own.

        Raises:
            Damaged: they are missing or wrong.
        """
        for _ in range(2):  # a broken line is not a broken disk
            data = self._read(*part)
            if hashlib.sha256(data).hexdigest() == part.object:
                return data
        self._confirm(part.object)
        raise Damaged(part.object, "its stored bytes are damaged")

    def check_large(self, entry: TreeEntry) -> None:
        """Read a large file and check it. Raises Damaged."""
        digests = []
        for part in parts_of(entry):
            if part.object:
                digest = hashlib.sha256(self._read(*part)).digest()
                if part.offset == 0 and digest.hex() != part.object:
                    self._confirm(part.object)
                    raise Damaged(part.object, "its stored bytes are damaged")
                digests.append(digest)
            else:
                digests.append(zeros_digest(part.length))
        if (digests[0].hex() if len(digests) == 1 else parts_digest(digests)) != entry.digest:
            self.damage.add("")
            raise Damaged("", "its stored bytes are not the file's")

    def _part(self, part: Extent, fd: int, at: int) -> bytes:
        if self._paths is not None:
            return self._part_of_path(self._paths, part, fd, at)
        for again in (False, True):
            data = self._read(*part)
            digest = hashlib.sha256(data).digest()
            if again or part.offset or digest.hex() == part.object:
                break
        _write_at(fd, memoryview(data), at)
        return digest

    def _part_of_path(self, paths: SupportsPath, part: Extent, fd: int, at: int) -> bytes:
        """Copy from the store's own file."""
        try:
            source = os.open(paths.path(blob_key(part.object)), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._missing(part.object) from None
        except OSError as error:
            raise Damaged(part.object, f"its stored bytes cannot be read: {error.strerror}") from None
        try:
            copied = self._copy_inside(source, part, fd, at)
            self._copy(source, part.offset + copied, part.length - copied, fd, at + copied)
        finally:
            os.close(source)
        return hash_range(fd, self._block(), at, part.length)  # where it now is: there it can no longer change

    def _copy_inside(self, source: int, part: Extent, fd: int, at: int) -> int:
        """Let the system copy, which shares blocks where the file system can, and is faster than reading and writing
        where it cannot; how many bytes it did."""
        done = 0
        try:
            # Systems let one thread write to a file, and others that want to keep their processors busy with waiting:
            # those are to check what is written, and so wait here.
            with self._writing:
                while self._copies and done < part.length:
                    n = os.copy_file_range(source, fd, part.length - done, part.offset + done, at + done)
                    if not n:
                        break
                    done += n
        except OSError:  # it cannot, between these file systems; or what it cannot do will fail again, and be told
            self._copies = False
        return done

    def _copy(self, source: int, start: int, length: int, fd: int, at: int) -> None:
        view = self._block()
        while length and (n := read_into(source, view[:length], start)):
            _write_at(fd, view[:n], at)
            start, length, at = start + n, length - n, at + n

    def _block(self) -> memoryview:
        if not hasattr(self._blocks, "view"):
            self._blocks.view = memoryview(bytearray(BLOCK))
        view: memoryview = self._blocks.view
        return view


def _write_at(fd: int, view: memoryview, at: int) -> None:
    while view:
        n = os.pwrite(fd, view, at)
        view = view[n:]
        at += n


def _spans(group: list[TreeEntry]) -> Iterator[list[TreeEntry]]:
    """Neighbours that are worth one read."""
    span: list[TreeEntry] = []
    start = end = 0
    for entry in group:
        _, offset, length = entry.extents[0]
        if span and (offset > end + _GAP or offset + length - start > 2 * PART):
            yield span
            span = []
        if not span:
            start = end = offset
        span.append(entry)
        end = max(end, offset + length)
    if span:
        yield span


def parts_of(entry: TreeEntry) -> list[Extent]:
    """The extents of a large file, one for each part. Raises Damaged when they are cut elsewhere."""
    parts: list[Extent] = []
    for extent in entry.extents:
        if extent.object:
            parts.append(extent)
        else:
            whole, rest = divmod(extent.length, PART)
            parts += [Extent("", 0, PART)] * whole + ([Extent("", 0, rest)] if rest else [])
    if any(p.length != PART for p in parts[:-1]) or not parts or parts[-1].length > PART:
        raise Damaged("", "the manifest cuts it into wrong parts")
    return parts
