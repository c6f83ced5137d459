"""What was saved of a folder last time, so that it costs little to save it again."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import Tree, TreeEntry, to_bytes, tree_key
from dstack_core._content.stamping import digest_of_stamps, stamps_digest
from dstack_core._content.statcache import Stamp, StatCache, now, stamp_of, trusted
from dstack_core._content.walk import Findings
from dstack_core.artifact_store import ArtifactStore

_SLICE: Final = 4096  # files that are remembered at once


@dataclass(frozen=True)
class SavedTree:
    """A stored tree. `size`: bytes of its files; `new_bytes`: of them, stored now; `warnings`: what was left out."""

    digest: str
    files: int
    size: int
    new_bytes: int = 0
    warnings: tuple[str, ...] = ()


class LastSave:
    """What the files of one folder held when they were last saved into one store."""

    def __init__(self, store: ArtifactStore, base: bytes) -> None:
        self._store = store
        self._base = base
        self._started = now()
        self._cache = StatCache(b"save\0" + to_bytes(store.location) + b"\0" + base)
        self._head: dict[str, Any] = {}
        self._settled = False

    def unchanged(self) -> SavedTree | None:
        """The last result, if nothing at all changed since and it is still stored.

        Folders need not be listed for that: one that got or lost an entry has another time.
        """
        last = self._cache.head
        try:
            if not last or last["root"] != stamp_of(os.lstat(self._base)):
                return None
            stamps = stamps_digest(self._base, [p for p in last["paths"].split(b"\0") if p])
        except OSError:
            return None
        if last["stamps"] != stamps or not self._store.exists(tree_key(last["digest"])):
            return None
        if last["digest"] in KnownDamage(self._store):
            return None
        return SavedTree(last["digest"], last["files"], last["size"], 0, tuple(last["special"]))

    def files(self) -> Mapping[bytes, tuple[Stamp, str, tuple[Any, ...]]]:
        """Path -> stamp, digest and extents, of files that can be relied on."""
        return self._cache.body()

    def note(self, findings: Findings) -> None:
        """Take down what was found, before any of it is read."""
        found = findings.found
        self._settled = all(f.kind == stat.S_IFREG or trusted(f.stamp, self._started) for f in found)
        self._head = {
            "root": found[0].stamp,
            "paths": b"\0".join(f.path for f in found[1:]),
            "stamps": digest_of_stamps([f.stamp for f in found[1:]]),
            "special": findings.special,
        }

    def keep(self, tree: Tree, saved: SavedTree, stamps: Mapping[bytes, Stamp]) -> None:
        """Remember this save."""
        files = [entry for entry in tree.entries if entry.kind == "file"]
        kept = [entry for entry in files if self._lasts(entry, stamps)]
        # The head speaks for all files at once, so only when each of them can be relied on.
        whole = self._settled and len(kept) == len(files) and len(saved.warnings) == len(self._head["special"])
        head = {**self._head, "digest": saved.digest, "files": saved.files, "size": saved.size}
        self._cache.save(head if whole else {}, _slices(kept, stamps))

    def _lasts(self, entry: TreeEntry, stamps: Mapping[bytes, Stamp]) -> bool:
        stamp = stamps.get(to_bytes(entry.path))
        return bool(stamp and trusted(stamp, self._started) and (entry.extents or not entry.size))


def _slices(files: Sequence[TreeEntry], stamps: Mapping[bytes, Stamp]) -> Iterator[dict[bytes, tuple[Any, ...]]]:
    for i in range(0, len(files), _SLICE):
        body = {}
        for entry in files[i : i + _SLICE]:
            path = to_bytes(entry.path)
            body[path] = (stamps[path], entry.digest, tuple(tuple(x) for x in entry.extents))
        yield body
