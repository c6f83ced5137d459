"""Restoring a tree to a folder, and checking one where it is stored."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from dstack_core._content.damage import record_damage
from dstack_core._content.entries import Tree, TreeEntry, to_bytes
from dstack_core._content.fetching import Damaged, Fetching, Problem, is_small
from dstack_core._content.manifest import DamagedTree, load_tree
from dstack_core._content.places import Conflict, Places, make_root
from dstack_core._content.walk import root_bytes
from dstack_core._content.work import Crew, collector_paused
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import NotFoundError, StoreError

_SHOWN: Final = 20


def restore_tree(
    store: ArtifactStore,
    digest: str,
    target: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Tree:
    """Make `target` what the tree is. What is there already and not in the tree stays; files of the tree replace files.
    Returns the tree.

    Every file is checked; a damaged one is not made, the others are. Nothing outside `target` is written.

    Raises:
        NotFoundError: there is no such tree.
        StoreError: files are missing or damaged in the store, or something of another kind is in their way; each is
            named, and all other files are restored. Or the disk is full.
    """
    with collector_paused():
        tree = load_known(store, digest)
        restore_entries(store, tree, target, progress, digest=digest)
    return tree


def restore_entries(
    store: ArtifactStore,
    tree: Tree,
    target: Path,
    progress: Callable[[int, int], None] | None = None,
    whole: bool = False,
    digest: str = "",
) -> None:
    """`restore_tree`, for a tree at hand: a part of one (`Tree.subtree`), for example.

    `whole`: not even when this process is killed does any file have its name before it is whole. `digest`: of the tree
    as it is stored, if this is all of it.
    """
    base = root_bytes(target)
    if not tree.entries:
        return
    fetching = Fetching(store)
    try:
        problems = _restore(fetching, tree, base, progress, whole)
    except OSError as error:
        raise StoreError(
            f"{target}: cannot be written: {error.strerror}", hint="free some space, or check the permissions"
        ) from None
    finally:
        record_damage_of(store, fetching, digest)
    if problems:
        raise failure(problems, f"restored to {target}")


def load_known(store: ArtifactStore, digest: str) -> Tree:
    """`load_tree`; what is stored and twice no such tree is known to be damaged from then on."""
    try:
        return load_tree(store, digest)
    except DamagedTree:  # a broken line is not a broken disk
        try:
            return load_tree(store, digest)
        except DamagedTree:
            record_damage(store, [digest])
            raise


def record_damage_of(store: ArtifactStore, fetching: Fetching, tree: str) -> None:
    """Write down what was found to be damaged; `tree`: the digest of the tree that was read, if it was all of one."""
    record_damage(store, filter(None, (name or tree for name in sorted(fetching.damage))))


def check_tree(store: ArtifactStore, digest: str) -> list[Problem]:
    """Read all that a tree names; returns what is missing or wrong, the manifest included. Writes down what is
    damaged, see `_content.damage`, and nothing else."""
    try:
        tree = load_known(store, digest)
    except (StoreError, NotFoundError) as error:
        return [Problem(digest, "", str(error))]
    fetching = Fetching(store)
    files = [e for e in tree.entries if e.kind == "file"]
    problems = [x for _, x in fetching.small_files(e for e in files if is_small(e)) if isinstance(x, Problem)]
    for entry in files:
        if not is_small(entry):
            try:
                fetching.check_large(entry)
            except Damaged as error:
                problems.append(Problem(entry.path, error.object, error.reason))
    record_damage_of(store, fetching, digest)
    return problems


def failure(problems: list[Problem], what: str) -> StoreError:
    """The error that names files which were not `what`."""
    shown = [str(p) for p in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more")
    count = "1 file was" if len(problems) == 1 else f"{len(problems)} files were"
    return StoreError(f"{count} not {what}: " + "; ".join(shown), hint="run the job that made them again")


def _restore(
    fetching: Fetching, tree: Tree, base: bytes, progress: Callable[[int, int], None] | None, whole: bool
) -> list[Problem]:
    root = tree.entries[0]
    if root.kind == "dir":
        new = make_root(base)
        places = Places(base, whole)
        name = b""
    else:
        folder, _, name = base.rpartition(b"/")
        os.makedirs(folder or b"/", exist_ok=True)
        new = False
        places = Places(folder or b"/", whole)
    with Crew(fetching.threads) as crew:
        restoring = _Restoring(fetching, crew, places, name, progress, tree.size)
        try:
            restoring.all(tree.entries, new)
        finally:
            places.close()
    return restoring.problems


class _Restoring:
    """One restore under way. `name`: of the root, when that is no folder."""

    def __init__(
        self,
        fetching: Fetching,
        crew: Crew,
        places: Places,
        name: bytes,
        progress: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        self.problems: list[Problem] = []
        self._fetching = fetching
        self._crew = crew
        self._places = places
        self._name = name
        self._progress = progress
        self._total = total
        self._done = 0
        self._reported = 0
        self._counting = threading.Lock()

    def all(self, entries: list[TreeEntry], new: bool) -> None:
        """Folders, files, links, and the folders' modes last of all: a folder may be one that nobody can write to."""
        modes = [entries[0]] if new else []
        # By components, so that a folder's content follows it, whatever characters names have.
        for entry in entries:
            if entry.kind == "dir" and entry.path:
                self._guard(entry, partial(self._folder, entry, modes))
        self._small(e for e in entries if e.kind == "file" and is_small(e))
        self._large([e for e in entries if e.kind == "file" and not is_small(e)])
        for entry in entries:
            if entry.kind == "link":
                self._guard(entry, partial(self._places.make_link, self._path(entry), to_bytes(entry.target)))
        for entry in reversed(modes):
            self._guard(entry, partial(self._places.set_mode, to_bytes(entry.path), entry.mode))

    def _path(self, entry: TreeEntry) -> bytes:
        return to_bytes(entry.path) or self._name

    def _guard(self, entry: TreeEntry, act: Callable[[], None]) -> None:
        try:
            act()
        except Conflict as conflict:
            self.problems.append(Problem(entry.path, "", str(conflict)))

    def _folder(self, entry: TreeEntry, modes: list[TreeEntry]) -> None:
        if self._places.make_folder(to_bytes(entry.path), entry.mode):
            modes.append(entry)

    def _small(self, entries: Iterable[TreeEntry]) -> None:
        write = self._places.write_file
        for entry, content in self._fetching.small_files(entries):
            if isinstance(content, Problem):
                self.problems.append(content)
            else:
                try:
                    write(self._path(entry), content, entry.mode)
                except Conflict as conflict:
                    self.problems.append(Problem(entry.path, "", str(conflict)))
            self._count(entry.size, 1 << 20)

    def _count(self, size: int, step: int = 0) -> None:
        with self._counting:
            self._done += size
            if self._progress is not None and (self._done - self._reported >= step or self._done == self._total):
                self._reported = self._done
                self._progress(self._done, self._total)

    def _large(self, entries: list[TreeEntry]) -> None:
        for entry in entries:
            after = self._done + entry.size
            self._guard(entry, partial(self._one_large, entry))
            self._count(after - self._done)  # holes, and what could not be restored

    def _one_large(self, entry: TreeEntry) -> None:
        path = self._path(entry)
        temporary, fd = self._places.temporary(path)
        try:
            self._fetching.large_file(entry, fd, self._run, self._count)
        except Damaged as error:
            self._places.discard(path, temporary, fd)
            self.problems.append(Problem(entry.path, error.object, error.reason))
        except BaseException:
            self._places.discard(path, temporary, fd)
            raise
        else:
            self._places.finish(path, temporary, fd, entry.mode)

    def _run(self, steps: list[Callable[[], None]]) -> None:
        if len(steps) == 1:
            steps[0]()
            return
        going = [self._crew.start(step) for step in steps]
        try:
            for future in going:
                future.result()
        finally:
            # One failed, or was told to end: the others need not begin. No thread may use a file once it is closed.
            for future in going:
                future.cancel()
            for future in going:
                if not future.cancelled():
                    future.exception()
