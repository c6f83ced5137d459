"""Bring a job's edits back into a working tree: what changed there, unless it changed here, too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Set
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
    """

    wanted: list[Change] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def compare(
    root: Path, base: Tree, edited: Tree, here: Tree, *, theirs: bool = False, brought: Mapping[str, TreeEntry | None]
) -> Bringing:
    """From `base` to `edited`, against `here`, which was found at `root`.

    Args:
        theirs: where both changed, `edited` counts.
        brought: what was brought before, None for what was deleted then: it may be replaced as the base may.
    """
    mine = {entry.path: entry for entry in here}
    since = Tree([*(entry for entry in base if entry.path not in brought), *filter(None, brought.values())])
    found = {change.path: change for change in (*changes(since, edited), *changes(base, edited))}
    gone = {path for path, change in found.items() if change.new is None}
    wanted, conflicts = [], []
    for path, change in sorted(found.items()):
        entry = mine.get(path)
        untouched = same_content(entry, change.old) or (path in brought and same_content(entry, brought[path]))
        if same_content(entry, change.new):
            continue  # somebody has made the same change here
        if (theirs or untouched) and _is_free(root, change, entry, gone):
            wanted.append(replace(change, old=entry))
        else:
            conflicts.append(path)
    return Bringing(wanted, conflicts)


def bring(store: ArtifactStore, root: Path, wanted: list[Change]) -> None:
    """Make the changes. New content is fetched and verified as a whole before the first of them.

    Raises:
        StoreError: it cannot be read, or the disk not be written.
    """
    new = [change.new for change in wanted if change.new is not None]
    staged = root / f"{_STAGED}{os.urandom(8).hex()}"
    try:
        restore_entries(store, Tree([TreeEntry("", "dir", 0o755), *_folders(new), *new]), staged)
        for change in sorted(wanted, key=lambda change: change.new is not None):  # a file may become a folder
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


def _is_free(root: Path, change: Change, entry: TreeEntry | None, gone: Set[str]) -> bool:
    """Whether the path can be written: nothing ignored lies there, and no link or file is on the way that stays."""
    target = root / change.path
    if entry is None and os.path.lexists(target):
        return False
    above = root
    for part in Path(change.path).parent.parts:
        above /= part
        if str(above.relative_to(root)) in gone:
            return True
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
