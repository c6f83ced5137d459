"""Copying a tree to where a user has files already: nothing of theirs is changed unless they say so."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dstack_core._content.entries import Tree, TreeEntry, to_bytes, to_text
from dstack_core._content.reading import Gone, file_digest
from dstack_core._content.restoring import restore_entries
from dstack_core._content.walk import join, root_bytes
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError

_SHOWN: Final = 5


@dataclass
class Comparison:
    """A tree and what is where it would go.

    Attributes:
        missing: what has to be written for the two to be equal; the root is the first.
        unchanged: files and links that are there already, with the same content.
        different: files and links that are there with another content.
        blocked: what is there and of another kind: a folder where a file would go, or the other way round.
    """

    missing: list[TreeEntry] = field(default_factory=list)
    unchanged: int = 0
    different: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)


def compare(tree: Tree, target: Path) -> Comparison:
    """Look at what is at `target`, reading files only where their size is the tree's. Writes nothing.

    Raises:
        JobError: a file cannot be read.
    """
    base = root_bytes(target)
    found = Comparison()
    for entry in tree.entries:
        _compare(entry, join(base, to_bytes(entry.path)), found)
    return found


def copy_out(
    store: ArtifactStore,
    tree: Tree,
    target: Path,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Make `target` have what is in `tree`; returns what was there before. Every file is verified, and whole or not
    there, also when this process is killed.

    Raises:
        ConflictError: what is there is of another kind, or has another content and not `force`. Nothing was written.
        StoreError: files are missing or damaged in the store (the others are there), or the disk is full.
    """
    found = compare(tree, target)
    if found.blocked:
        hint = "move it away, or copy to another place"
        raise ConflictError(f"in the way: {_listed(found.blocked)}; nothing was copied", hint=hint)
    if found.different and not force:
        verb = "is there and differs" if len(found.different) == 1 else "are there and differ"
        raise ConflictError(
            f"{_listed(found.different)} {verb}; nothing was copied", hint="--force overwrites, or copy elsewhere"
        )
    restore_entries(store, Tree(found.missing), target, progress, whole=True)
    return found


def _compare(entry: TreeEntry, path: bytes, found: Comparison) -> None:
    # The root may be a link to a folder: the user named it. What is in it may not: that would lead out of it.
    try:
        status = os.stat(path) if not entry.path else os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        found.missing.append(entry)
        return
    is_folder = stat.S_ISDIR(status.st_mode)
    if is_folder != (entry.kind == "dir"):
        found.blocked.append(f"{to_text(path)} ({'a' if is_folder else 'no'} folder)")
    elif is_folder:
        if not entry.path:
            found.missing.append(entry)  # a tree has a root; that it is there is no harm
    elif _same(entry, path, status):
        found.unchanged += 1
        if entry.kind == "file" and stat.S_IMODE(status.st_mode) != entry.mode:
            found.missing.append(entry)
    else:
        found.different.append(to_text(path))
        found.missing.append(entry)


def _same(entry: TreeEntry, path: bytes, status: os.stat_result) -> bool:
    if entry.kind == "link":
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == to_bytes(entry.target)
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
        return False
    try:
        return file_digest(path)[0] == entry.digest
    except Gone:
        return False


def _listed(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN])
    return f"{shown} and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else shown
