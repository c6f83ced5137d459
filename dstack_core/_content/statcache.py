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
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from dstack_core.home import dstack_home

Stamp = tuple[int, int, int, int, int]
"""Mode, size, modification and change time (ns), inode: what differs when a file was written to."""

stamp_of: Callable[[os.stat_result], Stamp] = attrgetter("st_mode", "st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")
"""The `Stamp` of a file's status. A tenth of the status's memory, which counts when there are many files."""

_SECOND: Final = 1_000_000_000
_MAGIC: Final = f"dstack stat 1 {sys.implementation.cache_tag}\n".encode()
_KEPT: Final = 64  # caches; one for each folder that was saved or scanned


class StatCache:
    """The file for `name` (which folder, which store). Two records: a small head, and a body read when asked for."""

    def __init__(self, name: bytes) -> None:
        self._file = dstack_home() / "cache" / "stat" / hashlib.sha256(name).hexdigest()[:32]
        self._rest = b""
        self.head: dict[str, Any] = {}
        with suppress(OSError):
            raw = self._file.read_bytes()
            if raw.startswith(_MAGIC):
                self.head, self._rest = _record(raw[len(_MAGIC) :])

    def body(self) -> dict[Any, Any]:
        """The second record."""
        return _record(self._rest)[0]

    def save(self, head: dict[str, Any], body: dict[Any, Any]) -> None:
        """Replace the file. That it cannot be written is no error: the next scan reads everything."""
        temporary = f"{self._file}.{os.getpid()}.{threading.get_ident()}"
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_MAGIC)
                for record in (head, body):
                    data = marshal.dumps(record)
                    file.write(len(data).to_bytes(8, "big") + hashlib.sha256(data).digest())
                    file.write(data)
            os.replace(temporary, self._file)
            _prune(self._file.parent)


def _record(raw: bytes) -> tuple[dict[Any, Any], bytes]:
    """The first record of `raw` and what follows it; empty when it is damaged."""
    end = 40 + int.from_bytes(raw[:8], "big")
    data = raw[40:end]
    if len(data) != end - 40 or hashlib.sha256(data).digest() != raw[8:40]:
        return {}, b""
    record = marshal.loads(data)  # noqa: S302 - our own file in a private folder, whole by its checksum
    return (record, raw[end:]) if isinstance(record, dict) else ({}, b"")


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
