"""What a job used of a folder, told by the folder itself: no tracer, no privilege, a few system calls for each file.

Before the job, every access time is set to a moment long ago. After it, whatever has another one was read, listed,
executed, mapped or followed; this holds on file systems mounted `relatime`, too, since the access time then lies before
the modification time (`access` finds out whether it holds). What was written to, moved, removed, replaced, linked or
given other permissions shows in the rest of what `lstat` tells.

Nothing may read here between `mark` and `used` but the job: no other part of the runner, no executor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import Final

from dstack_core._content.entries import to_bytes

LONG_AGO: Final = 315_532_800 * 10**9
"""The access time of what was not read, ns since the epoch: 1980, the first year that every file system knows."""

_SECOND: Final = 10**9
_FLAGS: Final = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_CLOEXEC

_status = attrgetter(
    "st_ino", "st_dev", "st_mode", "st_nlink", "st_uid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_atime_ns"
)


class Reading:
    """Of the given paths below `root` (`""` is `root` itself), tells which were used since `mark`.

    A path that is not there when it is marked does not count: there is nothing to be used.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self._root = os.fsencode(root)
        self._folders: dict[str, list[str]] = {}
        for path in paths:
            folder, _, name = path.rpartition("/")
            self._folders.setdefault(folder, []).append(name)
        self._marked: dict[str, list[tuple[str, object]]] = {}

    def mark(self) -> None:
        """Set the access times. Raises OSError when that is not possible."""
        for folder, names in self._folders.items():
            with suppress(FileNotFoundError, NotADirectoryError), _opened(self._root, folder) as descriptor:
                looks = [(name, _mark(to_bytes(name) or b".", descriptor)) for name in names]
                self._marked[folder] = [(name, look) for name, look in looks if look is not None]

    def used(self) -> list[str]:
        """Paths that are not as they were marked."""
        return [f"{folder}/{name}" if folder else name for folder in self._marked for name in self._changed(folder)]

    def _changed(self, folder: str) -> list[str]:
        marked = self._marked[folder]
        try:
            with _opened(self._root, folder) as descriptor:
                return [name for name, look in marked if _look(to_bytes(name) or b".", descriptor) != look]
        except OSError:
            return [name for name, _ in marked]  # the folder is gone, and with it all that was in it


@contextmanager
def _opened(root: bytes, folder: str) -> Iterator[int]:
    """The folder, opened without reading it. Raises OSError."""
    descriptor = os.open(os.path.join(root, to_bytes(folder)), _FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mark(name: bytes, folder: int) -> object | None:
    """What tells later that this was not used; None when it is not there. Raises OSError."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        changed = status.st_mtime_ns
        if stat.S_ISDIR(status.st_mode):
            changed -= _SECOND  # so that an entry made within the same tick of the clock shows
        os.utime(name, ns=(LONG_AGO, changed), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _look(name, folder)


def _look(name: bytes, folder: int) -> object | None:
    try:
        return _status(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError:
        return None
