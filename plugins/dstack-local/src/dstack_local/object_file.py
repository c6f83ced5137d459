"""One object's file: its bytes, its version, and what a dead writer left."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from hashlib import sha256

from dstack_local.durable import sync_folder
from dstack_local.listing import MISSING

_STALE = 60.0  # seconds after which an unlocked temporary file, or an unsynced directory entry, is nobody's work
_HASHED = 1 << 20  # bytes; records are smaller, content is larger


def read_from(fd: int, start: int, length: int | None) -> bytes:
    """Bytes of an open file from `start`, `length` of them or all; fewer when it ends sooner."""
    size = max(0, os.fstat(fd).st_size - start)
    wanted = size if length is None else min(size, length)
    data = os.pread(fd, wanted, start)
    if len(data) == wanted:
        return data
    pieces = [data]
    while data and (wanted := wanted - len(data)):
        start += len(data)
        data = os.pread(fd, wanted, start)
        pieces.append(data)
    return b"".join(pieces)


def version_at(path: str) -> str | None:
    """The version of the object at `path`, None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except MISSING:
        return None
    try:
        small = os.fstat(fd).st_size <= _HASHED
        return version_of(fd, read_from(fd, 0, None) if small else b"")
    finally:
        os.close(fd)


def version_of(fd: int, data: bytes | memoryview) -> str:
    """The version of the object whose file is open: of a record, its bytes' digest.

    Content is large, and its key is its digest already: to hash it once more would take as long as to copy it. Its
    version is what tells one file from the next.
    """
    status = os.fstat(fd)
    if status.st_size <= _HASHED:
        return sha256(data).hexdigest()
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def settle(path: str) -> None:
    """Make sure that an object is durable before somebody is told that it is there already.

    Its writer may stand between rename and sync, or have died there.
    """
    with suppress(FileNotFoundError):
        if time.time() - os.lstat(path).st_ctime < _STALE:
            sync_folder(os.path.dirname(path))


def remove_stale(folder: str) -> None:
    """Remove temporary files whose writer is gone: old, and nobody holds their lock."""
    for name in os.listdir(folder):
        path = f"{folder}/{name}"
        with suppress(OSError):
            if time.time() - os.lstat(path).st_mtime < _STALE:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(fd)
