"""Saving a folder, file or link as a tree."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import PACK_LIMIT, PART, Extent, Tree, TreeEntry, to_bytes, to_text
from dstack_core._content.lastsave import LastSave, SavedTree
from dstack_core._content.publishing import publish_tree
from dstack_core._content.reading import Gone, read_small
from dstack_core._content.statcache import Stamp, stamp_of
from dstack_core._content.storing import Storing
from dstack_core._content.walk import Exclude, Found, find, join, root_bytes
from dstack_core._content.work import Crew, Progress, collector_paused, counter
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import JobError

INLINE_LIMIT: Final = 4096
"""A tree with no more bytes than this keeps them in its manifest: one write, and no more room than a disk block."""
_MANY_FILES: Final = 200  # from here on, or from so many bytes, remembering what files held pays for itself
_MANY_BYTES: Final = 8 * 1024 * 1024


def save_tree(
    store: ArtifactStore,
    root: Path,
    *,
    exclude: Exclude | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    tolerant: bool = False,
) -> SavedTree:
    """Store what is at `root`, a folder, a file or a link; when this returns, all of it is stored.

    Pipes, sockets and devices are left out and named in `warnings`, as are files that vanish meanwhile.

    Args:
        exclude: whether to leave out a path (relative to `root`), with all that is in it.
        cache: remember what files held, so that unchanged ones are not read when the same folder is saved again.
        tolerant: a file that cannot be read, or changes all the time, is left out with a warning.

    Raises:
        JobError: a file cannot be read, or changes all the time (see `tolerant`).
        StoreError: the store failed.
    """
    with collector_paused():
        return _save(store, root_bytes(root), exclude, progress, cache, tolerant)


def _save(
    store: ArtifactStore,
    base: bytes,
    exclude: Exclude | None,
    progress: Progress | None,
    cache: bool,
    tolerant: bool,
) -> SavedTree:
    memory = LastSave(store, base) if cache and exclude is None else None
    unchanged = memory and memory.unchanged()
    if unchanged:
        return unchanged
    findings = find(base, exclude)
    size = sum(f.size for f in findings.found if f.kind == stat.S_IFREG)
    if memory and (len(findings.found) >= _MANY_FILES or size >= _MANY_BYTES):
        memory.note(findings)
    else:
        memory = None
    with Crew() as crew:
        saving = _Saving(store, crew, base, counter(progress, size), tolerant, memory)
        try:
            entries = saving.entries(findings.found)
            findings.found.clear()  # with many files, what is not needed any more had better go
            crew.wait()
        finally:
            saving.storing.close()
    tree = Tree(entries)
    publish_tree(store, tree, saving.storing.damage)
    warnings = (*findings.special, *saving.warnings)
    saved = SavedTree(tree.digest, tree.files, tree.size, saving.storing.new_bytes, warnings)
    if memory is not None:
        memory.keep(tree, saved, saving.stamps)
    return saved


def save_known(store: ArtifactStore, root: bytes, tree: Tree, progress: Progress | None = None) -> None:
    """Store `tree`, whose digests are known already, from the files under `root`.

    Raises:
        JobError: a file does not hold any more what `tree` says.
        StoreError: the store failed.
    """
    found = []
    for entry in tree.entries:
        path = to_bytes(entry.path)
        if entry.kind == "file":
            try:
                found.append(Found(path, stamp_of(os.lstat(join(root, path)))))
            except OSError:
                raise _moved(entry.path) from None
    with Crew() as crew:
        saving = _Saving(store, crew, root, counter(progress, tree.size), False, None)
        try:
            stored = {e.path: e for e in saving.entries(found)}
            crew.wait()
        finally:
            saving.storing.close()
    entries = []
    for entry in tree.entries:
        if entry.kind == "file":
            now_there = stored.get(entry.path)
            if now_there is None or now_there.digest != entry.digest:
                raise _moved(entry.path)
            entry = now_there._replace(mode=entry.mode)
        entries.append(entry)
    publish_tree(store, Tree(entries), saving.storing.damage)


def store_files(store: ArtifactStore, root: bytes, files: Sequence[TreeEntry]) -> tuple[list[TreeEntry], KnownDamage]:
    """Store what these files under `root` hold now; their entries, without those that are gone or change all the time.

    Raises:
        StoreError: the store failed.
    """
    found = []
    for entry in files:
        path = to_bytes(entry.path)
        with suppress(OSError):
            found.append(Found(path, stamp_of(os.lstat(join(root, path)))))
    with Crew() as crew:
        saving = _Saving(store, crew, root, counter(None, 0), True, None)
        try:
            entries = saving.entries(found)
            crew.wait()
        finally:
            saving.storing.close()
    return entries, saving.storing.damage


def _moved(path: str) -> JobError:
    return JobError(f"{path} changed while the code was being stored", hint="run the command again")


class _Saving:
    """Turns what was found into entries whose bytes are stored."""

    def __init__(
        self,
        store: ArtifactStore,
        crew: Crew,
        base: bytes,
        progress: Callable[[int], None],
        tolerant: bool,
        memory: LastSave | None,
    ) -> None:
        self.storing = Storing(store, crew, progress)
        self.warnings: list[str] = []
        self.stamps: dict[bytes, Stamp] = {}
        self._crew = crew
        self._base = base
        self._progress = progress
        self._tolerant = tolerant
        self._known = memory.files() if memory else {}
        self._entries: list[TreeEntry] = []
        self._small: list[tuple[Found, bytes, int]] = []

    def entries(self, found: Sequence[Found]) -> list[TreeEntry]:
        """All entries. Their bytes are stored when the crew is done."""
        inline = sum(f.size for f in found if f.kind == stat.S_IFREG) <= INLINE_LIMIT
        take_small = partial(self._take_small, inline=inline)
        large = []
        for item in found:
            kind = item.kind
            if kind == stat.S_IFDIR:
                self._entries.append(TreeEntry(to_text(item.path), "dir", item.mode))
            elif kind == stat.S_IFLNK:
                self._entries.append(TreeEntry(to_text(item.path), "link", 0, "", to_text(item.target)))
            elif self._known and self._reuse(item):
                self._progress(item.size)
            elif item.size > PACK_LIMIT:
                large.append(item)
            else:
                self._guard(item, take_small)
        for item in large:
            if item.size <= PART:
                self._crew.call(partial(self._guard, item, partial(self._take_large, alone=False)))
        self._crew.wait()
        for item in large:
            if item.size > PART:
                self._guard(item, self._take_large)
        self._place_small()
        self._known, self._small = {}, []
        return self._entries

    def _guard(self, item: Found, take: Callable[[Found], None]) -> None:
        try:
            take(item)
        except Gone as gone:
            self.warnings.append(f"{to_text(item.path)} {gone}: not saved")
        except JobError as error:
            if not self._tolerant:
                raise
            self.warnings.append(f"{error}: not saved")

    def _reuse(self, item: Found) -> bool:
        known = self._known.get(item.path)
        if known is None or known[0] != item.stamp:
            return False
        _, digest, flat = known
        extents = tuple(Extent(*x) for x in flat)
        if not all(self.storing.present(x.object) for x in extents if x.object):
            return False
        self.stamps[item.path] = item.stamp
        self._entries.append(TreeEntry(to_text(item.path), "file", item.mode, digest, "", item.size, extents))
        return True

    def _take_small(self, item: Found, inline: bool) -> None:
        data, self.stamps[item.path] = read_small(join(self._base, item.path), item.stamp)
        if len(data) > PACK_LIMIT:  # it grew
            self._take_large(item)
        elif inline and len(data) <= INLINE_LIMIT:
            digest = hashlib.sha256(data).hexdigest()
            entry = TreeEntry(to_text(item.path), "file", item.mode, digest, "", len(data), (), data or None)
            self._entries.append(entry)
            self._progress(len(data))
        else:
            self._small.append((item, self.storing.add_small(data), len(data)))

    def _take_large(self, item: Found, alone: bool = True) -> None:
        stored, status = self.storing.store_large(join(self._base, item.path), alone)
        self.stamps[item.path] = stamp_of(status)
        entry = TreeEntry(to_text(item.path), "file", item.mode, stored.digest, "", stored.size, stored.extents)
        self._entries.append(entry)

    def _place_small(self) -> None:
        where = self.storing.finish_small()
        for item, digest, size in self._small:
            extents = (where[digest],) if size else ()
            self._entries.append(TreeEntry(to_text(item.path), "file", item.mode, digest.hex(), "", size, extents))
