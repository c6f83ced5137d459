"""Sending a tree from one store to another: what the other has already stays where it is, and every byte is checked.

A transfer that was cut short goes on where it was: the parts and packs that arrived are found there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import Extent, Tree, TreeEntry, parts_digest, zeros_digest
from dstack_core._content.fetching import Damaged, Fetching, Problem, is_small, parts_of
from dstack_core._content.publishing import is_sound, publish_tree
from dstack_core._content.restoring import failure, load_known, record_damage_of
from dstack_core._content.storing import Storing
from dstack_core._content.work import Crew, Progress, collector_paused, counter
from dstack_core.artifact_store import ArtifactStore


class Sent(NamedTuple):
    """What a transfer did. `size`: bytes of the tree's files; `new_bytes`: of them, sent now."""

    files: int
    size: int
    new_bytes: int


def send_tree(source: ArtifactStore, target: ArtifactStore, digest: str, progress: Progress | None = None) -> Sent:
    """Store in `target` the tree that `source` has; when this returns, all of it is stored there.

    Raises:
        NotFoundError: there is no such tree in `source`.
        StoreError: files are missing or damaged in `source` (the others were sent), or a store failed.
    """
    with collector_paused():
        tree = load_known(source, digest)
        if is_sound(target, digest, KnownDamage(target)):
            counter(progress, tree.size)(tree.size)
            return Sent(tree.files, tree.size, 0)
        fetching = Fetching(source)
        try:
            return _send(fetching, target, tree, progress)
        finally:
            record_damage_of(source, fetching, digest)


def _send(fetching: Fetching, target: ArtifactStore, tree: Tree, progress: Progress | None) -> Sent:
    with Crew() as crew:
        count = counter(progress, tree.size)
        sending = _Sending(fetching, Storing(target, crew, count), crew)
        try:
            for entry in tree.entries:
                if entry.kind == "file" and not is_small(entry):
                    sending.large(entry)
            where = sending.small(e for e in tree.entries if e.kind == "file" and is_small(e))
            crew.wait()
        finally:
            sending.storing.close()
    if sending.problems:
        raise failure(sending.problems, f"sent to {target.location}")
    entries = [_placed(entry, where) for entry in tree.entries]
    publish_tree(target, Tree(entries), sending.storing.damage)
    inline = sum(len(entry.inline or b"") for entry in entries)
    return Sent(tree.files, tree.size, sending.storing.new_bytes + inline)


def _placed(entry: TreeEntry, where: dict[bytes, Extent]) -> TreeEntry:
    """The entry with the place that its bytes have in the other store: packs there are others."""
    if entry.kind == "file" and entry.extents and is_small(entry):
        return entry._replace(extents=(where[bytes.fromhex(entry.digest)],))
    return entry


def _checked_parts(entry: TreeEntry) -> list[Extent]:
    """The parts of a large file, which together are that file. Raises Damaged when the manifest says otherwise."""
    parts = parts_of(entry)
    digests = [bytes.fromhex(part.object) if part.object else zeros_digest(part.length) for part in parts]
    if (digests[0].hex() if len(digests) == 1 else parts_digest(digests)) != entry.digest:
        raise Damaged("", "its stored bytes are not the file's")
    return parts


class _Sending:
    """One transfer under way."""

    def __init__(self, fetching: Fetching, storing: Storing, crew: Crew) -> None:
        self.storing = storing
        self.problems: list[Problem] = []
        self._fetching = fetching
        self._crew = crew

    def small(self, entries: Iterable[TreeEntry]) -> dict[bytes, Extent]:
        """Send small files; returns where their bytes are, once the crew is done."""
        files = list(entries)
        known = self.storing.find_small({bytes.fromhex(e.digest) for e in files if e.extents})
        wanted: dict[str, TreeEntry] = {}
        for entry in files:
            if bytes.fromhex(entry.digest) in known or entry.digest in wanted:
                self.storing.progress(entry.size)
            else:
                wanted[entry.digest if entry.extents else entry.path] = entry
        for entry, content in self._fetching.small_files(wanted.values()):
            if isinstance(content, Problem):
                self.problems.append(content)
            elif entry.extents:
                self.storing.add_small(bytes(content))
            else:
                self.storing.progress(entry.size)
        return self.storing.finish_small()

    def large(self, entry: TreeEntry) -> None:
        """Send those parts of a large file that are not there."""
        try:
            parts = _checked_parts(entry)
        except Damaged as error:
            self.problems.append(Problem(entry.path, error.object, error.reason))
            return
        for part in parts:
            if part.object and not self.storing.present(part.object):
                self._crew.call(partial(self._part, entry, part))
            else:
                self.storing.progress(part.length)

    def _part(self, entry: TreeEntry, part: Extent) -> None:
        try:
            data = self._fetching.part(part)
        except Damaged as error:
            self.problems.append(Problem(entry.path, error.object, error.reason))
            return
        self.storing.put(part.object, data)
        self.storing.progress(part.length)
