"""What people change in a job's checkout while it runs, kept as a tree: the code as it was, with the changes in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dstack_core._content.entries import Tree, TreeEntry, to_bytes
from dstack_core._content.publishing import publish_tree
from dstack_core._content.saving import store_files
from dstack_core._content.scanning import scan_plain
from dstack_core._content.walk import join, root_bytes
from dstack_core._content.work import collector_paused
from dstack_core.artifact_store import ArtifactStore

LITTER: Final = frozenset({"__pycache__", ".ipynb_checkpoints"})
"""Folders that programs leave beside what people write, ignored or not."""


class Edits:
    """Of one attempt.

    Args:
        code: what the run's code is, as it is stored.
        apart: whether a path is no code: artifacts, and what was laid in of other jobs'.

    Attributes:
        digest: of the tree as it was last saved; None while it is the code, unchanged.
    """

    def __init__(
        self, store: ArtifactStore, root: Path, code: Tree, apart: Callable[[str], bool], digest: str | None = None
    ) -> None:
        self._store = store
        self._root = root_bytes(root)
        self._code = {entry.path: entry for entry in code}
        self._apart = apart
        self._seen: str | None = None
        self.digest = digest

    def save(self) -> bool:
        """Store what is there now; whether it is anything else than the last time. Raises StoreError, InputError."""
        with collector_paused():
            also = [
                to_bytes(path) for path, entry in self._code.items() if entry.kind != "dir" and not self._apart(path)
            ]
            found = {entry.path: entry for entry in scan_plain(self._root, also).tree if self._counts(entry.path)}
            seen = Tree(found.values()).digest
            if seen == self._seen:
                return False
            before, self.digest = self.digest, self._save(found)
            self._seen = seen
            return self.digest != before

    def _save(self, found: dict[str, TreeEntry]) -> str | None:
        changed = [entry for path, entry in found.items() if not _same(entry, self._code.get(path))]
        kept = {path: entry for path, entry in self._code.items() if path in found or self._is_hidden(path)}
        if not changed and len(kept) == len(self._code):
            return None
        stored, damage = store_files(self._store, self._root, [entry for entry in changed if entry.kind == "file"])
        # A file that could not be read now is what it was before, if it was there: the next time it may be different.
        tree = {**kept, **{entry.path: entry for entry in changed if entry.kind != "file"}}
        tree |= {entry.path: entry._replace(mode=self._mode(entry)) for entry in stored}
        made = Tree(tree.values())
        publish_tree(self._store, made, damage)
        return made.digest

    def _counts(self, path: str) -> bool:
        return not self._apart(path) and (path in self._code or LITTER.isdisjoint(path.split("/")))

    def _is_hidden(self, path: str) -> bool:
        """Not looked at, or it could not be read."""
        return self._apart(path) or os.path.lexists(join(self._root, to_bytes(path)))

    def _mode(self, entry: TreeEntry) -> int:
        """The checkout is private; what is brought back need not be."""
        before = self._code.get(entry.path)
        if before and before.kind == "file" and before.mode & 0o100 == entry.mode & 0o100:
            return before.mode
        return 0o755 if entry.mode & 0o100 else 0o644


def _same(entry: TreeEntry, other: TreeEntry | None) -> bool:
    if other is None or entry.kind != other.kind:
        return False
    mine, its = ((e.digest, e.target, e.mode & 0o100) for e in (entry, other))
    return entry.kind == "dir" or mine == its
