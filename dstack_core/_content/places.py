"""Writing under a folder without ever leaving it: every name is looked up in a folder that is held open, and no link
is followed on the way, whoever puts one there."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import Final

from dstack_core._content.entries import to_text
from dstack_core.errors import StoreError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN: Final = 64  # folders held open


class Conflict(Exception):
    """Something of another kind is in the way; the text says what."""


class Places:
    """The folders of a tree under `root`, which exists. For one thread.

    `whole`: files get their names when they are whole, which takes one call more for each.
    """

    def __init__(self, root: bytes, whole: bool = False) -> None:
        self._whole = whole
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[bytes, int] = {}
        self._umask = current_umask()

    def close(self) -> None:
        """Let all folders go."""
        for fd in (*self._open.values(), self._root):
            os.close(fd)
        self._open = {}

    def folder(self, path: bytes) -> int:
        """The folder, open. Raises Conflict when it, or one on the way, is no folder."""
        if not path:
            return self._root
        fd = self._open.pop(path, -1)
        if fd < 0:
            above, name = self._parent(path)
            try:
                fd = os.open(name, _FOLDER, dir_fd=above)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise Conflict(f"{to_text(path)} is there, and is no folder") from None
                raise
            if len(self._open) >= _OPEN:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = fd  # last in the order: used most recently
        return fd

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        above, _, name = path.rpartition(b"/")
        return self.folder(above), name

    def make_folder(self, path: bytes, mode: int) -> bool:
        """Make the folder unless it is there. Returns whether its mode is still to be set."""
        above, name = self._parent(path)
        plain = mode & 0o700 == 0o700 and not mode & self._umask
        try:
            os.mkdir(name, mode if plain else 0o700, dir_fd=above)
            return not plain
        except FileExistsError:
            self.folder(path)
            return True

    def set_mode(self, path: bytes, mode: int) -> None:
        """Set a folder's mode."""
        os.fchmod(self.folder(path), mode)

    def write_file(self, path: bytes, data: bytes | memoryview, mode: int) -> None:
        """Make or replace a file. If this fails, it is not there, or as it was."""
        above, name = self._parent(path)
        if not self._whole:
            with suppress(FileExistsError):
                self._fill(os.open(name, _NEW, mode, dir_fd=above), data, mode, above, name)
                return
        temporary, fd = self.temporary(path)
        self._fill(fd, data, mode, above, temporary)
        os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)

    def _fill(self, fd: int, data: bytes | memoryview, mode: int, above: int, name: bytes) -> None:
        try:
            done = os.write(fd, data) if data else 0
            while done < len(data):
                done += os.write(fd, memoryview(data)[done:])
            if mode & self._umask or name.startswith(_TEMPORARY):
                os.fchmod(fd, mode)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=above)
            raise
        finally:
            os.close(fd)

    def temporary(self, path: bytes) -> tuple[bytes, int]:
        """The name, and the descriptor, of a new private file beside `path`."""
        above, name = self._parent(path)
        self._refuse_folder(above, name, path)
        temporary = _TEMPORARY + os.urandom(8).hex().encode()
        return temporary, os.open(temporary, _NEW & ~os.O_WRONLY | os.O_RDWR, 0o600, dir_fd=above)

    def finish(self, path: bytes, temporary: bytes, fd: int, mode: int) -> None:
        """Give a temporary file its mode and name, and close it."""
        try:
            above, name = self._parent(path)
            os.fchmod(fd, mode)
            os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
        finally:
            os.close(fd)

    def discard(self, path: bytes, temporary: bytes, fd: int) -> None:
        """Remove a temporary file."""
        os.close(fd)
        with suppress(OSError, Conflict):
            os.unlink(temporary, dir_fd=self._parent(path)[0])

    def make_link(self, path: bytes, target: bytes) -> None:
        """Make or replace a link."""
        above, name = self._parent(path)
        try:
            os.symlink(target, name, dir_fd=above)
        except FileExistsError:
            self._refuse_folder(above, name, path)
            temporary = _TEMPORARY + os.urandom(8).hex().encode()
            os.symlink(target, temporary, dir_fd=above)
            os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)

    def _refuse_folder(self, above: int, name: bytes, path: bytes) -> None:
        with suppress(FileNotFoundError):
            if os.lstat(name, dir_fd=above).st_mode & 0o170000 == 0o040000:
                raise Conflict(f"{to_text(path)} is there, and is a folder")


_TEMPORARY: Final = b".dstack-"


def current_umask() -> int:
    """This process's umask, read without changing it; all bits when it cannot be known."""
    with suppress(OSError), open("/proc/self/status") as lines:
        match = re.search(r"^Umask:\s*([0-7]+)", lines.read(), re.MULTILINE)
        if match:
            return int(match[1], 8)
    return 0o777


def make_root(target: bytes) -> bool:
    """Make the folder that a tree is restored to. Returns whether it is new. Raises StoreError."""
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.mkdir(target, 0o700)
    except FileExistsError:
        if not os.path.isdir(target):
            raise StoreError(f"{to_text(target)} is there, and is no folder") from None
        return False
    return True
