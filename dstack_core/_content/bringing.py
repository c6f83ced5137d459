"""Bring a job's edits back into a working tree: what changed there, unless it changed here, too."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from dstack_core._content.difference import Change, changes, same_content
from dstack_core._content.entries import Tree, TreeEntry
from dstack_core._content.restoring import restore_entries
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import StoreError

_STAGED: Final = ".dstack-"


@dataclass(frozen=True)
class Bringing:
    """What bringing back would do.

    Attributes:
        wanted: changes to be made here.
        conflicts: paths that hold something else here than before the changes.
        there: how many changes are here already.
    """

    wanted: list[Change] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    there: int = 0


def compare(root: Path, base: Tree, edited: Tree, here: Tree, *, theirs: bool = False) -> Bringing:
    """From `base` to `edited`, against `here`, which was found at `root`. `theirs`: where both changed, it counts."""
    mine = {entry.path: entry for entry in here}
    wanted, conflicts, there = [], [], 0
    for change in changes(base, edited):
        entry = mine.get(change.path)
        if same_content(entry, change.new):
            there += 1
        elif (theirs or same_content(entry, change.old)) and _is_free(root, change, entry):
            wanted.append(replace(change, old=entry))
        else:
            conflicts.append(change.path)
    return Bringing(wanted, conflicts, there)


def bring(store: ArtifactStore, root: Path, wanted: list[Change]) -> None:
    """Make the changes. New content is fetched and verified as a whole before the first of them.

    Raises:
        StoreError: it cannot be read, or the disk not be written.
    """
    new = [change.new for change in wanted if change.new is not None]
    staged = root / f"{_STAGED}{os.urandom(8).hex()}"
    try:
        restore_entries(store, Tree([TreeEntry("", "dir", 0o755), *_folders(new), *new]), staged)
        for change in wanted:
            target = root / change.path
            if change.new is None:
                target.unlink(missing_ok=True)
                _remove_empty(target.parent, root)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / change.path, target)
    except OSError as error:
        raise StoreError(f"{error.filename or root}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _is_free(root: Path, change: Change, entry: TreeEntry | None) -> bool:
    """Whether the path can be written: nothing ignored lies there, and no link or file is on the way to it."""
    target = root / change.path
    if entry is None and os.path.lexists(target):
        return False
    above = root
    for part in Path(change.path).parent.parts:
        above /= part
        if above.is_symlink() or (os.path.lexists(above) and not above.is_dir()):
            return False
    return True


def _folders(entries: list[TreeEntry]) -> list[TreeEntry]:
    paths = {str(parent) for entry in entries for parent in Path(entry.path).parents} - {"."}
    return [TreeEntry(path, "dir", 0o755) for path in paths]


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
