"""The artifact store `local`: objects are files of a folder.

    <root>/objects/<key>   the objects, one file each
    <root>/tmp/            objects that are being written; a crash leaves some here, the next writer removes them
    <root>/locks/          what makes conditional writes exclusive; 256 empty files

An object's version is the SHA-256 of its bytes: two writers of equal bytes have written the same state. (Not so of
large objects: see `object_file.version_of`.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from dstack_core.artifact_store import ABSENT, ANY, ArtifactStore, Object, ObjectInfo
from dstack_core.errors import ConflictError, NotFoundError, StoreError
from dstack_core.home import dstack_home
from dstack_local.durable import create_private, locked, make_folders, make_top, sync_file, sync_folder, write_all
from dstack_local.listing import KEY, MISSING, walk
from dstack_local.object_file import read_from, remove_stale, settle, version_at, version_of

_HINTS = {
    errno.ENOSPC: "free some space, or move the store to a larger disk",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another folder for the store",
    errno.EACCES: "check who owns the store's folder and its permissions",
    errno.EPERM: "check who owns the store's folder and its permissions",
    errno.EIO: "the disk reports errors: see the system's log (dmesg)",
    errno.EBUSY: "a process that uses this store is stopped or hangs: end it",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
}
_LASTING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


class FolderStore(ArtifactStore):
    """An artifact store in a folder of this machine (or of a file server that supports locks).

    Setting `path`: the folder; by default `store` in the user's dstack folder.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        path = settings.get("path")
        root = os.path.abspath(os.path.expanduser(str(path))) if path else str(dstack_home() / "store")
        self._root = root
        self._objects = f"{root}/objects"
        self._tmp = f"{root}/tmp"  # noqa: S108
        self._locks = f"{root}/locks"
        self._count = count()
        self._ready = False

    @property
    def location(self) -> str:
        """The folder."""
        return self._root

    def read(self, key: str, start: int = 0, length: int | None = None) -> Object:
        """See `ArtifactStore.read`. A ranged read has no version."""
        path = self._path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = read_from(fd, start, length)
                whole = start == 0 and length is None
                return Object(data, version_of(fd, data) if whole else "")
            finally:
                os.close(fd)
        except MISSING:
            raise self._not_found(key) from None
        except OSError as error:
            self._fail("read", key, error)

    def write(self, key: str, data: bytes | memoryview, expect: str = ANY) -> str:
        """See `ArtifactStore.write`."""
        path = self._path(key)
        try:
            self._prepare()
            if expect == ABSENT and os.path.lexists(path):
                settle(path)
                raise _taken(key)
            return self._replace(key, path, data, expect)
        except OSError as error:
            self._fail("write", key, error)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """See `ArtifactStore.list`. Files whose names cannot be keys are passed over."""
        if prefix and not (prefix.endswith("/") and KEY.match(prefix[:-1])):
            raise StoreError(f"not a prefix of keys: {prefix!r}")
        try:
            yield from walk(f"{self._objects}/{prefix}", prefix, after)
        except OSError as error:
            self._fail("list", prefix, error)

    def delete(self, key: str, expect: str = ANY) -> None:
        """See `ArtifactStore.delete`. Durable on return when it was conditional."""
        path = self._path(key)
        try:
            if not os.path.lexists(path):
                return
            self._prepare()
            with locked(self._lock(key)):
                if expect != ANY and version_at(path) not in (expect, None):
                    raise _changed(key)
                os.unlink(path)
                if expect != ANY:
                    sync_folder(os.path.dirname(path))
            self._prune(os.path.dirname(path))
        except MISSING:
            return
        except OSError as error:
            self._fail("delete", key, error)

    def exists(self, key: str) -> bool:
        """Whether the object is there; one look at the folder."""
        try:
            return stat.S_ISREG(os.stat(self._path(key)).st_mode)
        except MISSING:
            return False
        except OSError as error:
            self._fail("read", key, error)

    def append(self, key: str, data: bytes, offset: int, last: bool = False) -> None:
        """See `SupportsAppend.append`."""
        path = self._path(key)
        try:
            self._prepare()
            with locked(self._lock(key)):
                self._append(key, path, data, offset, last)
        except OSError as error:
            self._fail("append to", key, error)

    def path(self, key: str) -> Path:
        """See `SupportsPath.path`."""
        return Path(self._path(key))

    def _path(self, key: str) -> str:
        if len(key) > 512 or not KEY.match(key):
            raise StoreError(f"not a key: {key[:600]!r}")
        return f"{self._objects}/{key}"

    def _new_name(self) -> str:
        return f"{self._tmp}/{os.getpid()}-{next(self._count)}-{os.urandom(4).hex()}"

    def _lock(self, key: str) -> str:
        return f"{self._locks}/{zlib.crc32(key.encode()) & 255:02x}"

    def _prepare(self) -> None:
        """Make the store's folders before the first change; a store that is only read is never made."""
        if self._ready:
            return
        make_top(self._root)
        for folder in (self._objects, self._tmp, self._locks):
            make_folders(folder, self._root)
        remove_stale(self._tmp)
        self._ready = True

    def _replace(self, key: str, path: str, data: bytes | memoryview, expect: str) -> str:
        tmp = self._new_name()
        fd = create_private(tmp)
        try:
            # Held until the file is closed: tells a writer at work from one that died.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_all(fd, data)
            sync_file(fd)
            with locked(self._lock(key)):
                self._check(key, path, expect)
                self._publish(tmp, path)
            return version_of(fd, data)
        except BaseException:
            with suppress(OSError):
                os.unlink(tmp)
            raise
        finally:
            os.close(fd)

    def _check(self, key: str, path: str, expect: str) -> None:
        if expect == ANY:
            return
        if expect == ABSENT:
            if os.path.lexists(path):
                raise _taken(key)
        elif version_at(path) != expect:
            raise _changed(key)

    def _publish(self, tmp: str, path: str) -> None:
        """Rename `tmp` to `path`, durably, or leave everything as it was."""
        folder = os.path.dirname(path)
        try:
            old: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            old = None
        try:
            self._rename(tmp, path, folder)
            try:
                sync_folder(folder)
            except OSError:
                self._take_back(path, old)
                raise
        finally:
            if old is not None:
                os.close(old)

    def _rename(self, tmp: str, path: str, folder: str) -> None:
        for _ in range(100):
            try:
                os.rename(tmp, path)
                return
            except FileNotFoundError:
                self._make_folder(folder)
        os.rename(tmp, path)

    def _take_back(self, path: str, old: int | None) -> None:
        """Undo a rename that could not be made durable. The disk is failing: as good as possible."""
        if old is None:
            with suppress(OSError):
                os.unlink(path)
            return
        tmp = self._new_name()
        try:
            fd = create_private(tmp)
            try:
                write_all(fd, read_from(old, 0, None))
            finally:
                os.close(fd)
            os.rename(tmp, path)
        except OSError:
            with suppress(OSError):
                os.unlink(tmp)

    def _append(self, key: str, path: str, data: bytes, offset: int, last: bool) -> None:
        fd = self._open_for_append(path, make=offset == 0)
        if fd is None:
            raise _changed(key)
        try:
            if os.fstat(fd).st_size != offset:
                raise _changed(key)
            try:
                write_all(fd, data)
                if last:
                    sync_file(fd)
                    sync_folder(os.path.dirname(path))
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(fd, offset)
                raise
        finally:
            os.close(fd)

    def _open_for_append(self, path: str, make: bool) -> int | None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        for _ in range(100):
            try:
                return os.open(path, flags)
            except FileNotFoundError:
                if not make:
                    return None
            try:
                return create_private(path)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(path))
        return os.open(path, flags)

    def _make_folder(self, folder: str) -> None:
        """Make a folder for objects. A deleter that finds it empty may remove it at once: the caller tries again."""
        with suppress(FileNotFoundError):
            make_folders(folder, self._objects)

    def _prune(self, folder: str) -> None:
        """Remove folders that a deletion left empty, so that listings do not slow down over the years."""
        with suppress(OSError):
            while folder != self._objects:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def _not_found(self, key: str) -> NotFoundError:
        return NotFoundError(f"nothing is stored as {key}", where=self._root)

    def _fail(self, verb: str, key: str, error: OSError) -> NoReturn:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, f"look at {self._root}")
        lasting = error.errno in _LASTING
        message = f"cannot {verb} {key or 'the store'}: {reason}"
        raise StoreError(message, hint=hint, where=self._root, lasting=lasting) from error


def _taken(key: str) -> ConflictError:
    return ConflictError(f"{key} exists already")


def _changed(key: str) -> ConflictError:
    return ConflictError(f"{key} was changed by somebody else")
