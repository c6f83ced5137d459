"""The difference between two trees as `git diff` shows it.

git compares two commits of a repository that is made for that in a temporary folder, of what differs only. Nobody's
configuration has a say there: no filter, no line ends that are turned, no program that would be started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from dstack_core._content.entries import Tree, TreeEntry, to_bytes
from dstack_core._content.restoring import restore_entries
from dstack_core._content.walk import join, root_bytes
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, InputError
from dstack_core.home import dstack_home

_CHUNK: Final = 1 << 20
_FIRST, _SECOND = b"refs/heads/first", b"refs/heads/second"
# Whatever `.gitattributes` the code has: bytes are compared as they are.
_ATTRIBUTES: Final = "* -text -filter -ident -working-tree-encoding !diff\n"


@dataclass(frozen=True)
class Side:
    """One of two trees. `files` makes a folder in which the given entries of it are: anew in `folder`, or it is there.

    It raises StoreError when they cannot be read.
    """

    tree: Tree
    files: Callable[[Tree, Path], Path]


def stored_side(store: ArtifactStore, tree: Tree) -> Side:
    """A tree in a store."""

    def files(part: Tree, folder: Path) -> Path:
        restore_entries(store, part, folder)
        return folder

    return Side(tree, files)


def local_side(root: Path, tree: Tree) -> Side:
    """A tree that was found at `root`."""
    return Side(tree, lambda part, folder: root)


@dataclass(frozen=True)
class Change:
    """A path that differs. `how`: `added`, `deleted`, or `changed`; `old` and `new` are its entries."""

    path: str
    how: str
    old: TreeEntry | None
    new: TreeEntry | None


def changes(old: Tree, new: Tree) -> list[Change]:
    """The files and links that differ, in the order of their paths; as for git, folders are only where files are."""
    before, after = _by_path(old), _by_path(new)
    found = []
    for path in sorted({*before, *after}, key=to_bytes):
        was, now = before.get(path), after.get(path)
        if was is None or now is None:
            found.append(Change(path, "added" if was is None else "deleted", was, now))
        elif not same_content(was, now):
            found.append(Change(path, "changed", was, now))
    return found


def diff(old: Side, new: Side, found: list[Change], *, stat: bool, colours: bool) -> Iterator[bytes]:
    """What `git diff` says of the `changes` between two sides, piece by piece.

    Raises:
        InputError: there is no git.
        StoreError: a stored file is missing or damaged.
    """
    if shutil.which("git") is None:
        raise InputError("git shows differences, and it is not installed", hint="install it, or use --json")
    with tempfile.TemporaryDirectory(prefix="diff-", dir=dstack_home()) as folder:
        top = Path(folder)
        _import(top, [(_FIRST, old, [c.old for c in found]), (_SECOND, new, [c.new for c in found])])
        shown = ["--stat=100"] if stat else ["--patch"]
        colour = f"--color={'always' if colours else 'never'}"
        options = ["--no-ext-diff", "--no-textconv", "-M", "--src-prefix=a/", "--dst-prefix=b/", colour, *shown]
        yield from _git(top, "diff", *options, _FIRST.decode(), _SECOND.decode(), "--")


def _by_path(tree: Tree) -> Mapping[str, TreeEntry]:
    return {entry.path: entry for entry in tree if entry.kind != "dir"}


def same_content(one: TreeEntry | None, other: TreeEntry | None) -> bool:
    """Whether git would see no difference between two entries of a path."""
    return one is other if one is None or other is None else _content(one) == _content(other)


def _content(entry: TreeEntry) -> tuple[bytes, str]:
    return _git_mode(entry), entry.digest or entry.target


def _git_mode(entry: TreeEntry) -> bytes:
    return b"120000" if entry.kind == "link" else b"100755" if entry.mode & 0o100 else b"100644"


def _import(top: Path, commits: list[tuple[bytes, Side, list[TreeEntry | None]]]) -> None:
    list(_git(top, "init", "-q", "--bare", "."))
    (top / "info").mkdir(exist_ok=True)
    (top / "info" / "attributes").write_text(_ATTRIBUTES)
    with subprocess.Popen(
        ["git", "-c", "core.compression=0", "fast-import", "--quiet"],
        cwd=top,
        env=_environment(top),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as importing:
        assert importing.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is told below
            for number, (ref, side, entries) in enumerate(commits):
                kept = [entry for entry in entries if entry is not None]
                _write_commit(importing.stdin, ref, side, kept, top / f"files{number}")
        err = importing.communicate()[1]
    if importing.returncode != 0:
        raise DstackError(f"git fast-import failed: {err.decode(errors='replace').strip()[:500]}")


def _write_commit(to: IO[bytes], ref: bytes, side: Side, entries: list[TreeEntry], folder: Path) -> None:
    to.write(b"commit %b\ncommitter dstack <> 0 +0000\ndata 0\n\n" % ref)
    part = Tree([TreeEntry("", "dir", 0o700), *_folders(entries), *entries])
    root = root_bytes(side.files(part, folder))
    for entry in entries:
        path = to_bytes(entry.path)
        if entry.kind == "link":
            target = to_bytes(entry.target)
            _write_entry(to, entry, path, len(target))
            to.write(target + b"\n")
        else:
            _copy_file(to, entry, path, join(root, path))
    shutil.rmtree(folder, ignore_errors=True)


def _copy_file(to: IO[bytes], entry: TreeEntry, path: bytes, source: bytes) -> None:
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # it went since it was found
    with open(fd, "rb") as file:
        left = os.fstat(fd).st_size
        _write_entry(to, entry, path, left)
        while left:
            # One that shrinks meanwhile: git was promised so many bytes.
            data = file.read(min(_CHUNK, left)) or bytes(min(_CHUNK, left))
            to.write(data)
            left -= len(data)
        to.write(b"\n")


def _write_entry(to: IO[bytes], entry: TreeEntry, path: bytes, size: int) -> None:
    quoted = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    to.write(b'M %b inline "%b"\ndata %d\n' % (_git_mode(entry), quoted, size))


def _folders(entries: list[TreeEntry]) -> Iterator[TreeEntry]:
    paths: dict[str, None] = {}
    for entry in entries:
        path = entry.path.rpartition("/")[0]
        while path and path not in paths:
            paths[path] = None
            path = path.rpartition("/")[0]
    return (TreeEntry(path, "dir", 0o700) for path in paths)


def _git(top: Path, *arguments: str) -> Iterator[bytes]:
    with subprocess.Popen(
        ["git", "--no-pager", *arguments], cwd=top, env=_environment(top), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            while data := process.stdout.read(_CHUNK):
                yield data
        except GeneratorExit:
            process.kill()
            raise
    if process.returncode != 0:
        raise DstackError(f"git {arguments[0]} failed with {process.returncode}")


def _environment(top: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    nobody = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(top),
        "XDG_CONFIG_HOME": str(top),
    }
    return {**kept, **nobody, "GIT_DIR": str(top), "LC_ALL": "C.UTF-8"}
