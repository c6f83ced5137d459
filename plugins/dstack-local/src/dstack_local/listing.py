"""Keys as files of a folder, and listing them in the order of keys."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dstack_core.artifact_store import ObjectInfo

_SEGMENT = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._%=+-]{1,255}"
KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*\Z")
_NAME = re.compile(rf"{_SEGMENT}\Z")
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""How the system says that there is no such object."""


def walk(folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """The objects in `folder` (ends in `/`), whose keys begin with `prefix`, behind the key `after`; raises OSError."""
    for name, entry in _entries(folder):
        key = prefix + name
        if (key <= after and not after.startswith(key)) or not _NAME.match(entry.name):
            continue
        if name[-1] == "/":
            yield from walk(folder + name, key, after)
        elif key > after and entry.is_file(follow_symlinks=False):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            size = status.st_size
            yield ObjectInfo(key, size, f"{status.st_mtime_ns:x}-{size:x}-{status.st_ino:x}")


def _entries(folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """What is in a folder; names of folders end in `/`, which is how keys sort: `a-b` before `a/b` before `a0`.

    Nothing else is asked of an entry here: of 10,000, the first few may be all that somebody wants.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(e.name + "/" if e.is_dir(follow_symlinks=False) else e.name, e) for e in entries]
    except MISSING:
        return []
    found.sort(key=_first)
    return found


def _first(pair: tuple[str, os.DirEntry[str]]) -> str:
    return pair[0]
