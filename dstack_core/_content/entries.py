"""What a tree is: entries, their digest, and the manifest that is stored.

Names are data. A path is text for Python, bytes for the system; `to_bytes` and `to_text` go between the two without
loss for any name that a file system allows, whatever the locale is.

The digest of a file is the SHA-256 of its bytes if they fit one part (16 MiB). The digest of a longer one is the
SHA-256 of `dstack parts 1`, a zero byte, and the 32-byte SHA-256 of each part in order: parts can then be hashed,
sent and verified side by side, in bounded memory.

The digest of a tree is the SHA-256 of `dstack tree 1`, a zero byte, and for each entry, in the order of the bytes of
its path: kind (`d`, `f`, `l`), permission bits in octal, the path, and the file's digest or the link's target, each
followed by a zero byte. Where the bytes are stored, times and owners are no part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from dstack_core.errors import StoreError

PART: Final = 16 * 1024 * 1024
"""Bytes of a file that are one object, and hashed as one."""

PACK_LIMIT: Final = 256 * 1024
"""Files up to this size go into packs."""

KINDS: Final = {"dir": b"d", "file": b"f", "link": b"l"}
_EMPTY: Final = hashlib.sha256(b"").hexdigest()


class Extent(NamedTuple):
    """`length` bytes of the object `blobs/<aa>/<object>`, from `offset`. `object` is empty for a run of zeros."""

    object: str
    offset: int
    length: int


class TreeEntry(NamedTuple):
    """One folder, file or link of a tree. `path` is relative with `/` between names; the root's own is empty.

    Attributes:
        kind: `dir`, `file` or `link`.
        mode: permission bits (0o777); 0 for a link.
        digest: of a file's bytes, see the module; empty for others.
        target: where a link points, as it was written.
        size: of a file, bytes.
        extents: where a file's bytes are stored, in order.
        inline: a small file's bytes, when the manifest itself holds them.
    """

    path: str
    kind: str
    mode: int = 0
    digest: str = ""
    target: str = ""
    size: int = 0
    extents: tuple[Extent, ...] = ()
    inline: bytes | None = None


class Tree:
    """Entries in the order of the bytes of their paths."""

    def __init__(self, entries: Iterable[TreeEntry]) -> None:
        self._entries: list[TreeEntry] | None = sorted(entries, key=_order)
        self._load: Callable[[], Iterable[TreeEntry]] = list
        self._digest = ""

    @classmethod
    def later(cls, digest: str, load: Callable[[], Iterable[TreeEntry]]) -> Tree:
        """A tree of known digest whose entries are made when somebody asks for them."""
        tree = cls(())
        tree._digest, tree._entries, tree._load = digest, None, load
        return tree

    @property
    def entries(self) -> list[TreeEntry]:
        """All entries; the root is the first."""
        if self._entries is None:
            self._entries = sorted(self._load(), key=_order)
        return self._entries

    @property
    def digest(self) -> str:
        """The tree's digest: equal for trees of equal names, kinds, permissions and contents."""
        if not self._digest:
            self._digest = _tree_digest(self.entries)
        return self._digest

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(e.kind == "file" for e in self.entries)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(e.size for e in self.entries)

    def __iter__(self) -> Iterator[TreeEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def subtree(self, path: str) -> Tree:
        """What is at `path`, as a tree of its own; empty when there is nothing."""
        if not path:
            return self
        inside = path + "/"
        return Tree(
            e._replace(path=e.path[len(inside) :]) for e in self.entries if e.path == path or e.path.startswith(inside)
        )


def to_bytes(path: str) -> bytes:
    """The bytes of a name."""
    return path.encode("utf-8", "surrogateescape")


def to_text(path: bytes) -> str:
    """The name that these bytes are; bytes that are no UTF-8 become lone surrogates, as Python does."""
    return path.decode("utf-8", "surrogateescape")


def tree_key(digest: str) -> str:
    """The key of a tree's manifest."""
    return f"trees/{digest[:2]}/{digest}"


def blob_key(digest: str) -> str:
    """The key of stored bytes: a part of a file, or a pack of small ones."""
    return f"blobs/{digest[:2]}/{digest}"


def _order(entry: TreeEntry) -> bytes:
    return entry.path.encode("utf-8", "surrogateescape")


def _tree_digest(entries: Iterable[TreeEntry]) -> str:
    lines = [
        b"%b%o\0%b\0%b\0" % (KINDS[e.kind], e.mode, to_bytes(e.path), to_bytes(e.digest or e.target)) for e in entries
    ]
    return hashlib.sha256(b"dstack tree 1\0" + b"".join(lines)).hexdigest()


def parts_digest(parts: Iterable[bytes]) -> str:
    """The digest of a file of several parts, from the parts' own (32 bytes each)."""
    return hashlib.sha256(b"dstack parts 1\0" + b"".join(parts)).hexdigest()


@lru_cache(maxsize=8)
def zeros_digest(length: int) -> bytes:
    """The SHA-256 of that many zero bytes."""
    state = hashlib.sha256()
    block = bytes(min(length, 1 << 20))
    for _ in range(length // len(block) if block else 0):
        state.update(block)
    state.update(bytes(length % len(block) if block else 0))
    return state.digest()


def check_digest(digest: str, what: str) -> str:
    """`digest` if it has the form of one. Raises StoreError."""
    if len(digest) == 64 and not digest.strip("0123456789abcdef"):
        return digest
    raise StoreError(f"{what} is not a digest: {digest[:80]!r}")
