"""Files that are on the disk when a function says so: whole, synced, private to their owner."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCK = 256 * 1024
"""Bytes that are written at once. The system copies many megabytes in one call at half the speed: they do not stay in
the processor's cache."""
LOCK_PATIENCE = 60.0
"""Seconds to wait for a lock that is normally held for one millisecond, e.g. by a process that was stopped."""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, however many calls that takes."""
    view = memoryview(data).cast("B")
    while view.nbytes:
        view = view[os.write(fd, view[:BLOCK]) :]


def sync_file(fd: int) -> None:
    """Bring a file to the disk itself; on macOS `fsync` alone stops at the drive's cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
        return
    try:
        fcntl.fcntl(fd, full)
    except OSError:
        os.fsync(fd)


def sync_folder(path: str) -> None:
    """Bring a folder's entries to the disk: what was made, renamed or removed in it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_private(path: str) -> int:
    """Make a file that nobody else can read, whatever the umask; fails if it exists."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        os.unlink(path)
        raise
    return fd


def make_folders(path: str, top: str) -> None:
    """Make `path` and what is missing above it, up to `top`, which exists: mode 0700, durable."""
    missing = []
    while path != top and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        # Whoever loses the race to make it syncs it too: the winner may not have come that far.
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
            os.chmod(folder, 0o700)
        sync_folder(os.path.dirname(folder))


def make_top(path: str) -> None:
    """Make the outermost folder with its parents. One that is there already keeps its mode."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        os.makedirs(parent, exist_ok=True)
    make_folders(path, parent)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold an advisory lock on the file `path` (made if need be) against other threads and processes.

    Opened anew each time: a lock belongs to the open file, so threads and forked children that shared one would
    not exclude each other.

    Raises:
        OSError: the file system has no locks, or (EBUSY) somebody kept it for `LOCK_PATIENCE` seconds.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(fd, path)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, path: str) -> None:
    deadline: float | None = None
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
            deadline = deadline or now + LOCK_PATIENCE
            if now > deadline:
                raise OSError(errno.EBUSY, "another process keeps it locked", path) from None
        import random  # only who has to wait needs it

        time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311
