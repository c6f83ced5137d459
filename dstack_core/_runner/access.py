"""Whether access times tell, on a file system, what was read: tried out, not read off its name.

A mount with `noatime` or `nodiratime` keeps them as they were. btrfs and XFS share blocks between files (FICLONE, which
`cp` uses) without a trace. A network's or a host's file system may answer from a cache that its server never sees.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from dstack_core._runner.reading import Reading

_FICLONE: Final = 0x40049409

_known: dict[tuple[int, int], str] = {}
_lock = threading.Lock()


def hindrance(folder: Path) -> str:
    """Why access times do not tell what is read in `folder`, which exists; empty when they do.

    Tried once for each file system, as long as it is mounted in the same way.
    """
    status = os.statvfs(folder)
    key = (os.stat(folder).st_dev, status.f_flag)
    with _lock:
        if key not in _known:
            _known[key] = try_out(folder)
        return _known[key]


def try_out(folder: Path) -> str:
    """`hindrance`, not remembered."""
    if sys.platform != "linux":
        return "only Linux is known to tell by access times what was read"
    place = folder / f"access-{os.getpid()}"
    try:
        place.mkdir(0o700)
        silent = [name for name, path, act in _uses(place) if _leaves_no_trace(place, path, act)]
    except OSError as error:
        return f"access times cannot be tried out: {error.strerror}"
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if silent:
        return f"the file system of the jobs' folder keeps no access time when a file is {silent[0]}"
    return ""


def _uses(place: Path) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Each way to use something: what is done to it, its name, and doing it."""
    file, link, copy = place / "file", place / "link", place / "copy"
    file.write_bytes(b"\n" * 8192)
    file.chmod(0o700)
    link.symlink_to("file")
    yield "read", "file", file.read_bytes
    yield "listed", "", lambda: os.listdir(place)
    yield "pointed to by a link that is followed", "link", link.stat
    yield "mapped into memory", "file", lambda: _map(file)
    yield "executed", "file", lambda: _execute(file)
    with open(file, "rb") as source, open(copy, "wb") as target:
        if hasattr(os, "copy_file_range"):
            yield "copied", "file", lambda: os.copy_file_range(source.fileno(), target.fileno(), 8192)
        if _can_clone(source.fileno(), target.fileno()):
            yield "cloned", "file", lambda: _clone(source.fileno(), target.fileno())


def _leaves_no_trace(place: Path, path: str, act: Callable[[], object]) -> bool:
    reading = Reading(place, [path])
    reading.mark()
    with contextlib.suppress(PermissionError):  # where nothing may be executed, no job executes anything
        act()
        return not reading.used()
    return False


def _map(file: Path) -> None:
    import mmap

    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ):
        pass


def _execute(file: Path) -> None:
    """The kernel reads a program before it knows whether it is one. This is none, so that nothing else happens."""
    try:
        os.execv(file, ["file"])  # noqa: S606
    except PermissionError:
        raise
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise


def _can_clone(source: int, target: int) -> bool:
    try:
        _clone(source, target)
    except OSError:
        return False
    return True


def _clone(source: int, target: int) -> None:
    import fcntl

    fcntl.ioctl(target, _FICLONE, source)
