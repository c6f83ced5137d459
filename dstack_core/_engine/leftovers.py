"""What is left in a user's dstack folder, outside of every store: of machines that are dead, and of old versions.

All of it is of this machine, and nothing of it is the only copy of anything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from dstack_core.home import dstack_home

DAY: Final = 86400.0
KEPT: Final = {"work": 1 * DAY, "machine logs": 30 * DAY, "caches": 90 * DAY, "keys": 90 * DAY}
"""Seconds for which each kind is kept after it was last written or used."""


class Leftover(NamedTuple):
    """A file or folder that can go. `size`: bytes of all files in it."""

    kind: str
    path: Path
    size: int


def leftovers() -> Iterator[Leftover]:
    """Whatever can go. Raises InputError when there is no dstack folder of the user's."""
    home = dstack_home()
    # First what there is, then who lives: a machine's process is there before its folder is.
    folders, logs = _in(home / "work"), _in(home / "machines")
    living = _environments_and_arguments()
    if living is not None:
        yield from _old("work", (f for f in folders if not _mentioned(f.name, living)))
        yield from _old("machine logs", (f for f in logs if not _mentioned(f.stem, living)))
    yield from _old("caches", (entry for entry in _in(home / "cache") if entry.name != "stat"))
    yield from _old("keys", iter(_in(home / "ssh")))  # of a run that goes on, another is made
    yield from _old("work", home.glob("diff-*"))


def remove(leftover: Leftover) -> None:
    """Delete it. That it cannot be deleted, wholly or in part, is no error: it is found again."""
    if leftover.path.is_dir() and not leftover.path.is_symlink():
        for folder, _, _ in os.walk(leftover.path):
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)  # a job may have made it unwritable
        shutil.rmtree(leftover.path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            leftover.path.unlink()


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _old(kind: str, paths: Iterator[Path]) -> Iterator[Leftover]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime > KEPT[kind]:
                yield Leftover(kind, path, _size(path))


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _environments_and_arguments() -> list[bytes] | None:
    """Of every process that can be seen; None where there is no `/proc`."""
    if not os.path.exists("/proc/self/environ"):
        return None
    texts = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                texts.append(file.read())
    return texts


def _mentioned(machine: str, texts: list[bytes]) -> bool:
    return any(os.fsencode(machine) in text for text in texts)
