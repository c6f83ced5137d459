"""What files held when they were last read, so that what did not change need not be read again.

One file per folder (and store) under `$DSTACK_HOME/cache/stat`: for each path, size, times, inode and the digest and
extents found then. It is trusted only where it cannot be wrong: a file whose change time is not clearly older than the
moment it was read may have been written again within the same tick of the clock, and is read again next time.
The format is Python's marshal behind a checksum: the fastest to load, and of no worth to another version.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, Final

from dstack_core.home import dstack_home

Stamp = tuple[int, int, int, int, int]
"""Mode, size, modification and change time (ns), inode: what differs when a file was written to."""

stamp_of: Callable[[os.stat_result], Stamp] = attrgetter("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
"""The `Stamp` of a file's status. A tenth of the status's memory, which counts when there are many files."""

_SECOND: Final = 1_000_000_000
_MAGIC: Final = f"dstack stat 2 {sys.implementation.cache_tag}\n".encode()
_KEPT: Final = 64  # caches; one for each folder that was saved or scanned


class StatCache:
    """The file for `name` (which folder, which store): a small head, and a body that is read when asked for."""

    def __init__(self, name: bytes) -> None:
        self._file = dstack_home() / "cache" / "stat" / hashlib.sha256(name).hexdigest()[:32]
        self._open: IO[bytes] | None = None
        self.head: dict[str, Any] = {}
        with suppress(OSError):
            self._open = open(self._file, "rb")  # noqa: SIM115 - the body stays readable when the file is replaced
            if self._open.read(len(_MAGIC)) == _MAGIC:
                self.head = _record(self._open)

    def __del__(self) -> None:
        if self._open:
            self._open.close()

    def body(self) -> dict[Any, Any]:
        """All that belongs to the head. For one call."""
        body: dict[Any, Any] = {}
        with suppress(OSError):
            while self._open and (piece := _record(self._open)):
                body |= piece
        return body

    def save(self, head: dict[str, Any], body: Iterable[dict[Any, Any]]) -> None:
        """Replace the file; a large body comes in pieces, so that it is not all in memory twice. That it cannot be
        written is no error: the next scan reads everything."""
        temporary = f"{self._file}.{os.getpid()}.{threading.get_ident()}"
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_MAGIC)
                for record in chain([head], body):
                    data = marshal.dumps(record)
                    file.write(len(data).to_bytes(8, "big") + hashlib.sha256(data).digest())
                    file.write(data)
            os.replace(temporary, self._file)
            _prune(self._file.parent)


def _record(file: IO[bytes]) -> dict[Any, Any]:
    """The next record; empty when it is damaged, or there is none."""
    size, digest = int.from_bytes(file.read(8), "big"), file.read(32)
    data = file.read(size) if size <= os.fstat(file.fileno()).st_size else b""
    if hashlib.sha256(data).digest() != digest:
        return {}
    record = marshal.loads(data)  # noqa: S302 - our own file in a private folder, whole by its checksum
    return record if isinstance(record, dict) else {}


def trusted(stamp: Stamp, read_at: int) -> bool:
    """Whether a file with this stamp, read at that time (ns), cannot have changed since without a new stamp."""
    changed = stamp[3]
    # File systems that count in seconds (or two) show no fraction.
    margin = _SECOND // 10 if changed % _SECOND else 21 * _SECOND // 10
    return changed + margin < read_at


def now() -> int:
    """The time to compare stamps with, ns."""
    return time.time_ns()


def _prune(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda f: f.stat().st_mtime, reverse=True)
    for file in files[_KEPT:]:
        file.unlink(missing_ok=True)
