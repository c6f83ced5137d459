"""Finding what is in a folder, without following a link and without opening anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dstack_core._content.entries import to_bytes, to_text
from dstack_core._content.statcache import Stamp, stamp_of
from dstack_core.errors import JobError

Exclude = Callable[[str, bool], bool]
"""Whether to leave out this path; True for a folder leaves out all in it. The path is relative to the root, the second
argument says whether it is a folder."""


class Found(NamedTuple):
    """A folder, file or link. `path` is relative to the root, in bytes; `target` is where a link points."""

    path: bytes
    stamp: Stamp
    target: bytes = b""

    @property
    def kind(self) -> int:
        """Of what kind it is, as `stat.S_IFMT` says."""
        return self.stamp[0] & 0o170000

    @property
    def mode(self) -> int:
        """Permission bits."""
        return self.stamp[0] & 0o777

    @property
    def size(self) -> int:
        """Bytes, of a file."""
        return self.stamp[1]


class Findings(NamedTuple):
    """`special`: what was left out, in words for the user."""

    found: list[Found]
    special: list[str]


def find(root: bytes, exclude: Exclude | None = None) -> Findings:
    """Everything under `root`, itself first.

    Raises:
        JobError: `root` is not there, or a folder cannot be read.
    """
    findings = Findings([], [])
    try:
        status = os.lstat(root)
    except OSError as error:
        raise JobError(f"{to_text(root)}: {error.strerror}") from None
    if stat.S_ISLNK(status.st_mode):
        findings.special.append(f"{to_text(root)} is a link: the link was saved, not what it points to")
        findings.found.append(Found(b"", stamp_of(status), os.readlink(root)))
    elif stat.S_ISDIR(status.st_mode):
        findings.found.append(Found(b"", stamp_of(status)))
        _find_in(root, b"", exclude, findings)
    elif stat.S_ISREG(status.st_mode):
        findings.found.append(Found(b"", stamp_of(status)))
    else:
        raise JobError(f"{to_text(root)} is {special_kind(status.st_mode)}: that cannot be saved")
    return findings


def special_kind(mode: int) -> str:
    """What a file that is no folder, file or link is, in words."""
    names = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return names.get(stat.S_IFMT(mode), "no file")


def _find_in(root: bytes, path: bytes, exclude: Exclude | None, findings: Findings) -> None:
    pending = [path]
    found = findings.found
    while pending:
        path = pending.pop()
        prefix = path + b"/" if path else b""
        for entry in _scan(os.path.join(root, path), path):
            name = prefix + entry.name
            if exclude is not None and exclude(to_text(name), entry.is_dir(follow_symlinks=False)):
                continue
            try:
                stamp = stamp_of(entry.stat(follow_symlinks=False))
                kind = stamp[0] & 0o170000
                if kind == stat.S_IFREG:
                    found.append(Found(name, stamp))
                elif kind == stat.S_IFDIR:
                    found.append(Found(name, stamp))
                    pending.append(name)
                elif kind == stat.S_IFLNK:
                    found.append(Found(name, stamp, os.readlink(os.path.join(root, name))))
                else:
                    findings.special.append(f"{to_text(name)} is {special_kind(kind)}: not saved")
            except FileNotFoundError:
                findings.special.append(f"{to_text(name)} vanished while the folder was read: not saved")


def _scan(folder: bytes, path: bytes) -> Iterator[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise JobError(f"{to_text(path) or to_text(folder)}: the folder cannot be read: {error.strerror}") from None


def join(root: bytes, path: bytes) -> bytes:
    """Where `path` is on this machine."""
    return root + b"/" + path if path else root


def root_bytes(root: os.PathLike[str]) -> bytes:
    """The bytes of a path that is not to be resolved."""
    return to_bytes(os.path.abspath(root))
