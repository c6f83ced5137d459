"""Looking at a working tree: which files belong to it, and what is in them.

The work is not done twice. For each folder that was scanned there is a memory of what its files held. When git lists
the same paths and all files have the same stamps, the last result stands as it is; that is asked of git while this
process looks at the files that it knows from last time.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstack_core._content import gitrepo
from dstack_core._content.entries import PACK_LIMIT, Tree, TreeEntry, to_bytes, to_text
from dstack_core._content.ignoring import IGNORE_FILE, Ignoring
from dstack_core._content.reading import Gone, file_digest, read_small
from dstack_core._content.stamping import digest_of_stamps, stamps_digest
from dstack_core._content.statcache import Stamp, StatCache, now, stamp_of, trusted
from dstack_core._content.walk import find, join, special_kind
from dstack_core.errors import InputError

_FOLDER_MODE: Final = 0o755
_FEW: Final = 50  # files that are read sooner than remembered
_NO_STATUS: Final = gitrepo.Status(None, None, "", ())

Known = dict[bytes, tuple[Stamp, str]]


@dataclass(frozen=True)
class Scan:
    """What was found."""

    tree: Tree
    status: gitrepo.Status
    warnings: tuple[str, ...]


def scan_plain(base: bytes, also: Iterable[bytes] = ()) -> Scan:
    """A folder that is in no repository. `also`: files and links that count though an ignore file leaves them out."""
    cache = StatCache(b"scan\0" + base)
    looking = _Looking(base, cache.body())
    looking.walk()
    looking.add_left_out(also)
    tree = looking.tree()
    if len(looking.kept) > _FEW and looking.kept != looking.known:
        cache.save({}, [{"files": looking.kept}])
    return Scan(tree, _NO_STATUS, tuple(looking.warnings))


def scan_git(base: bytes, top: bytes) -> Scan:
    """A folder of the repository `top`."""
    cache = StatCache(b"scan\0" + base)
    asked = gitrepo.ask_paths(base)
    try:
        # While git works.
        before = gitrepo.state(top)
        signature = _signature(base, cache.head)
    except BaseException:
        asked.cancel()
        raise
    last = cache.head
    if signature is None or signature != last.get("signature"):
        return _scan_changed(base, top, asked, cache)
    listing = asked.answer()
    if hashlib.sha256(listing).digest() != last["listing"]:
        return _scan_changed(base, top, asked, cache, listing)
    status = _status(base, top, signature, before)
    return Scan(Tree.later(last["digest"], lambda: _remembered(cache)), status, ())


def _status(base: bytes, top: bytes, signature: bytes, state: tuple[Any, ...] | None) -> gitrepo.Status:
    """How the tree differs from its commit, which only changes when a file, the index or the commit does."""
    cache = StatCache(b"status\0" + base)
    key = (signature, state)
    if state and cache.head.get("key") == key:
        return gitrepo.Status(*cache.head["status"])
    started = now()
    status = gitrepo.read_status(gitrepo.ask_status(base).answer(), top, base)
    if state and trusted(state[2], started):
        answer = (status.branch, status.commit, status.summary, status.changed)
        cache.save({"key": key, "status": answer}, [])
    return status


def _scan_changed(
    base: bytes, top: bytes, asked: gitrepo.Question, cache: StatCache, listing: bytes | None = None
) -> Scan:
    asked_status = gitrepo.ask_status(base)
    try:
        looking = _Looking(base, cache.body())
        listing = asked.answer() if listing is None else listing
        looking.add_listing(listing.split(b"\0"), b"")
        tree = looking.tree()
        status = gitrepo.read_status(asked_status.answer(), top, base)
    except BaseException:
        asked.cancel()
        asked_status.cancel()
        raise
    head: dict[str, Any] = {}
    ignore_files = looking.ignore_files()
    if looking.whole:
        head = {
            "listing": hashlib.sha256(listing).digest(),
            "paths": b"\0".join(looking.paths),
            "extra": ignore_files,
            "digest": tree.digest,
        }
        head["signature"] = _signature(base, head, looking.stamps)
    body = {"files": looking.kept, "links": looking.links, "folders": list(looking.folders)}
    if head or len(looking.kept) > _FEW:
        cache.save(head, [body])
    return Scan(tree, status, tuple(looking.warnings))


def _signature(base: bytes, head: dict[str, Any], stamps: Sequence[Stamp] | None = None) -> bytes | None:
    """The state of all files that `head` names; None when one of them is gone."""
    if not head:
        return None
    try:
        if stamps is None:
            files = stamps_digest(base, [p for p in head["paths"].split(b"\0") if p])
        else:
            files = digest_of_stamps(stamps)
        extra = [gitrepo.stamp_or_none(p) for p in head["extra"]]
    except OSError:
        return None
    return hashlib.sha256(marshal.dumps((files, extra), 2)).digest()


def _remembered(cache: StatCache) -> Iterator[TreeEntry]:
    body = cache.body()
    for path, (stamp, digest) in body["files"].items():
        yield _file(path, stamp, digest)
    for path, target in body["links"].items():
        yield TreeEntry(to_text(path), "link", 0, "", to_text(target))
    for path in body["folders"]:
        yield TreeEntry(to_text(path), "dir", _FOLDER_MODE)


def _file(path: bytes, stamp: Stamp, digest: str) -> TreeEntry:
    return TreeEntry(to_text(path), "file", _mode(stamp[0]), digest, "", stamp[1])


def _mode(mode: int) -> int:
    own = mode & 0o700
    return own | ((own >> 3 | own >> 6) & 0o055 if mode & 0o077 else 0)


class _Looking:
    """One look at a working tree. `whole`: all that it saw is in `paths`, `stamps`, and can be relied on."""

    def __init__(self, base: bytes, body: dict[str, Any]) -> None:
        self.started = now()
        self.known: Known = body.get("files", {})
        self.kept: Known = {}
        self.links: dict[bytes, bytes] = {}
        self.folders: set[bytes] = {b""}
        self.paths: list[bytes] = []
        self.stamps: list[Stamp] = []
        self.warnings: list[str] = []
        self.whole = True
        self._base = base
        self._files: list[TreeEntry] = []
        self._ignoring: Ignoring | None = None

    def tree(self) -> Tree:
        """All that was found, with its folders."""
        entries = self._files
        entries += [TreeEntry(to_text(p), "link", 0, "", to_text(t)) for p, t in self.links.items()]
        entries += [TreeEntry(to_text(f), "dir", _FOLDER_MODE) for f in self.folders]
        return Tree(entries)

    def ignore_files(self) -> list[bytes]:
        """Files beside those in `paths` that the result depends on."""
        return [join(self._base, to_bytes(IGNORE_FILE)), *(self._ignoring.files if self._ignoring else ())]

    def walk(self) -> None:
        """Everything under the root that no ignore file leaves out."""
        ignoring = Ignoring(self._base, (IGNORE_FILE, ".gitignore"))

        def exclude(path: str, folder: bool) -> bool:
            return path.rpartition("/")[2] == ".git" or ignoring.ignored(path, folder)

        findings = find(self._base, exclude)
        self.warnings += findings.special
        for item in findings.found:
            if item.kind == stat.S_IFDIR:
                self.folders.add(item.path)
            elif item.kind == stat.S_IFLNK:
                self.links[item.path] = item.target
            else:
                self._add_file(item.path, item.stamp)

    def add_left_out(self, paths: Iterable[bytes]) -> None:
        """Those of the paths that `walk` did not find, and that are there."""
        seen = {*(to_bytes(entry.path) for entry in self._files), *self.links}
        for path in paths:
            if path in seen:
                continue
            try:
                stamp = stamp_of(os.lstat(join(self._base, path)))
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISLNK(stamp[0]):
                self._add_link(path)
            elif stat.S_ISREG(stamp[0]):
                self._add_file(path, stamp)

    def add_listing(self, paths: Sequence[bytes], prefix: bytes) -> None:
        """What git listed: files, links, and repositories inside this one."""
        ignoring = self._ignore_rules(paths, prefix)
        inner = []
        known, kept, files = self.known, self.kept, self._files
        base = self._base + b"/"
        lstat = os.lstat
        seen: set[bytes] = set()
        for relative in paths:
            path = prefix + relative.rstrip(b"/")
            if not relative or path in seen or (ignoring and ignoring.ignored(to_text(path), relative[-1:] == b"/")):
                continue
            seen.add(path)
            try:
                stamp = stamp_of(lstat(base + path))
            except (FileNotFoundError, NotADirectoryError):
                self.whole = False
                continue  # deleted, and not committed
            remembered = known.get(path)
            if stat.S_ISDIR(stamp[0]):
                inner.append(path)
                seen.remove(path)
                continue
            if remembered is not None and remembered[0] == stamp:
                kept[path] = remembered
                files.append(_file(path, stamp, remembered[1]))
            elif stat.S_ISLNK(stamp[0]):
                self._add_link(path)
            else:
                self._add_file(path, stamp)
            self.paths.append(path)
            self.stamps.append(stamp)
        self.folders.update(_folders_of(seen))
        for path in inner:
            self._add_inner(path)

    def _ignore_rules(self, paths: Sequence[bytes], prefix: bytes) -> Ignoring | None:
        name = to_bytes(IGNORE_FILE)
        if self._ignoring is None and (
            os.path.exists(join(self._base, prefix + name)) or any(p.endswith(b"/" + name) for p in paths)
        ):
            self._ignoring = Ignoring(self._base, (IGNORE_FILE,))
        return self._ignoring

    def _add_inner(self, path: bytes) -> None:
        """A submodule, or a repository that lies in this one: it is asked itself."""
        self.whole = False
        self.folders.add(path)
        self.folders.update(_folders_of([path]))
        folder = join(self._base, path)
        if os.path.lexists(os.path.join(folder, b".git")):
            try:
                listing = gitrepo.ask_paths(folder).answer()
            except InputError as error:
                self.warnings.append(f"{to_text(path)} is left out: {error}")
                return
            self.add_listing(listing.split(b"\0"), path + b"/")

    def _add_link(self, path: bytes) -> None:
        try:
            self.links[path] = os.readlink(join(self._base, path))
        except OSError:
            self._leave_out(path, "vanished")

    def _add_file(self, path: bytes, stamp: Stamp) -> None:
        if not stat.S_ISREG(stamp[0]):
            self._leave_out(path, f"is {special_kind(stamp[0])}")
            return
        remembered = self.known.get(path)
        if remembered is None or remembered[0] != stamp:
            try:
                remembered = self._read(path, stamp)
            except Gone as gone:
                self._leave_out(path, str(gone))
                return
        if trusted(remembered[0], self.started):
            self.kept[path] = remembered
        else:
            self.whole = False
        self._files.append(_file(path, *remembered))

    def _read(self, path: bytes, stamp: Stamp) -> tuple[Stamp, str]:
        where = join(self._base, path)
        if stamp[1] <= PACK_LIMIT:
            data, stamp = read_small(where, stamp)
            if len(data) <= PACK_LIMIT:
                return stamp, hashlib.sha256(data).hexdigest()
        digest, status = file_digest(where)
        return stamp_of(status), digest

    def _leave_out(self, path: bytes, why: str) -> None:
        self.whole = False
        self.warnings.append(f"{to_text(path)} {why}: not in the snapshot")


def _folders_of(paths: Iterable[bytes]) -> Iterator[bytes]:
    """All folders that the paths are in, and those that these are in."""
    seen: set[bytes] = set()
    for path in paths:
        above = path.rpartition(b"/")[0]
        while above and above not in seen:
            seen.add(above)
            yield above
            above = above.rpartition(b"/")[0]
