"""Reading files that others may be writing: what is returned is one state of the file, or an error that names it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from typing import Final, TypeVar

from dstack_core._content.entries import PART, parts_digest, to_text, zeros_digest
from dstack_core._content.statcache import Stamp, stamp_of
from dstack_core._content.walk import special_kind
from dstack_core.errors import JobError

T = TypeVar("T")

TRIES: Final = 4
BLOCK: Final = 256 * 1024
"""Bytes that are read, hashed and copied at once: few enough to stay in a processor's cache meanwhile."""
# O_NONBLOCK: opening a pipe that has no writer would wait for ever, should the file have become one.
FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_BINARY", 0)


class Gone(Exception):
    """The file is not there any more, or is no file any more; the text says which."""


def read_small(path: bytes, stamp: Stamp) -> tuple[bytes, Stamp]:
    """All bytes of the file, and its stamp then. `stamp`: what it was found with; it may have grown since.

    Raises:
        Gone: it is not there any more.
        JobError: it cannot be read, or never stops changing.
    """
    fd = _open(path)
    try:
        size = stamp[1]
        data = os.read(fd, size + 1)
        if len(data) == size and stamp_of(os.fstat(fd)) == stamp:
            return data, stamp
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(fd)
    data, status = stable(path, lambda fd, now: read_range(fd, 0, now.st_size))
    return data, stamp_of(status)


def stable(path: bytes, read: Callable[[int, os.stat_result], T]) -> tuple[T, os.stat_result]:
    """What `read(fd, status)` returns when the file did not change meanwhile, and the file's status.

    Raises:
        Gone: it is not there any more.
        JobError: it cannot be read, or changed in each of `TRIES` tries.
    """
    for attempt in range(TRIES):
        fd = _open(path)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise Gone(f"is now {special_kind(before.st_mode)}")
            result = read(fd, before)
            after = os.fstat(fd)
        except OSError as error:
            raise _unreadable(path, error) from None
        finally:
            os.close(fd)
        if stamp_of(before) == stamp_of(after):
            return result, after
        time.sleep(0.02 * 2**attempt)
    raise JobError(
        f"{to_text(path)}: the file changes while it is saved", hint="let the job end what still writes to it"
    )


def read_range(fd: int, start: int, length: int) -> bytes:
    """`length` bytes from `start`, fewer when the file ends sooner."""
    data = os.pread(fd, length, start)
    while len(data) < length and (more := os.pread(fd, length - len(data), start + len(data))):
        data += more
    return data


def read_into(fd: int, view: memoryview, start: int) -> int:
    """Fill `view` from the file; returns how many bytes there were."""
    done = 0
    while done < len(view) and (n := os.preadv(fd, [view[done:]], start + done)):
        done += n
    return done


def read_hashed(fd: int, view: memoryview, start: int) -> tuple[int, bytes]:
    """`read_into`, and the SHA-256 of what was read."""
    state = hashlib.sha256()
    done = 0
    while done < len(view) and (n := read_into(fd, view[done : done + BLOCK], start + done)):
        state.update(view[done : done + n])
        done += n
    return done, state.digest()


def parts_of(size: int) -> list[tuple[int, int]]:
    """Offset and length of each part of a file of that size."""
    return [(start, min(PART, size - start)) for start in range(0, size, PART)]


def file_digest(path: bytes) -> tuple[str, os.stat_result]:
    """A file's digest, and its status when that was taken. Memory is bounded. Raises as `stable` does."""

    def digest(fd: int, status: os.stat_result) -> str:
        holes = Holes(fd, status)
        block = memoryview(bytearray(min(BLOCK, status.st_size)))
        parts = [
            zeros_digest(length) if holes.cover(start, length) else hash_range(fd, block, start, length)
            for start, length in parts_of(status.st_size)
        ]
        return parts[0].hex() if len(parts) == 1 else parts_digest(parts) if parts else hashlib.sha256().hexdigest()

    return stable(path, digest)


class Holes:
    """Which parts of a sparse file were never written."""

    def __init__(self, fd: int, status: os.stat_result) -> None:
        self._fd = fd
        self._sparse = status.st_blocks * 512 < status.st_size

    def cover(self, start: int, length: int) -> bool:
        """Whether these bytes are all of a hole."""
        if not self._sparse:
            return False
        try:
            return os.lseek(self._fd, start, os.SEEK_DATA) >= start + length
        except OSError as error:
            return error.errno == errno.ENXIO


def hash_range(fd: int, block: memoryview, start: int, length: int) -> bytes:
    """The SHA-256 of `length` bytes from `start`, fewer when the file ends sooner; read by way of `block`."""
    state = hashlib.sha256()
    end = start + length
    while start < end:
        n = read_into(fd, block[: end - start], start)
        if not n:
            break  # it shrank: `stable` sees that
        state.update(block[:n])
        start += n
    return state.digest()


def _open(path: bytes) -> int:
    try:
        return os.open(path, FLAGS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Gone("vanished") from None
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise Gone("is now a link") from None
        if error.errno == errno.ENXIO:
            raise Gone("is now a pipe or a socket") from None
        raise _unreadable(path, error) from None


def _unreadable(path: bytes, error: OSError) -> JobError:
    return JobError(f"{to_text(path)}: the file cannot be read: {error.strerror}", hint="check its permissions")
