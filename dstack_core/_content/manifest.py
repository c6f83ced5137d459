"""The stored form of a tree: lines of JSON under `trees/<aa>/<digest>`, checked when it is read.

The first line is `{"format": "dstack tree 1", "objects": [digest, ...]}`. Each other line is a JSON list of entries,
each one of

- `["d", mode, path]`
- `["f", mode, path, size, digest, [object, offset, length, ...]]`, where `object` counts in `objects`, -1: zeros
- `["f", mode, path, size, digest, "base64"]`, the bytes themselves
- `["l", path, target]`

Paths are text as `to_text` makes it. A manifest comes from a store that others may write to, so that nothing in it is
believed: the digest must be the one in the key, and no path may leave the tree or pass through anything but a folder
of the same tree.
"""

from __future__ import annotations

import binascii
import io
import json
from typing import Any, Final

from dstack_core._content.entries import KINDS, Extent, Tree, TreeEntry, check_digest, tree_key
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import NotFoundError, StoreError


class DamagedTree(StoreError):
    """What is stored as a tree's manifest is none of that tree."""


FORMAT: Final = "dstack tree 1"
_SLICE: Final = 1000  # entries on a line, so that neither side holds all twice


def encode_tree(tree: Tree) -> bytes:
    """The manifest's bytes."""
    objects: dict[str, int] = {}
    for entry in tree.entries:
        for extent in entry.extents:
            if extent.object:
                objects.setdefault(extent.object, len(objects))
    out = io.BytesIO()
    out.write(_dump({"format": FORMAT, "objects": list(objects)}))
    for i in range(0, len(tree.entries), _SLICE):
        out.write(b"\n")
        out.write(_dump([_row(entry, objects) for entry in tree.entries[i : i + _SLICE]]))
    return out.getvalue()


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), check_circular=False).encode("ascii")


def decode_tree(data: bytes, digest: str) -> Tree:
    """The tree that a manifest describes.

    Raises:
        DamagedTree: it is damaged, of a newer format, not the tree `digest`, or names a path that it must not.
    """
    try:
        lines = io.BytesIO(data)
        head = json.loads(lines.readline())
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r:.40}, this dstack reads {FORMAT!r}")
        objects = [check_digest(o, "an object") for o in head["objects"]]
        tree = Tree(_entry(row, objects) for line in lines for row in json.loads(line))
        _check_paths(tree.entries)
    except StoreError as error:
        raise DamagedTree(f"the manifest of tree {digest} is damaged: {error}", hint=_HINT) from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DamagedTree(f"the manifest of tree {digest} is damaged: {error}", hint=_HINT) from None
    if tree.digest != digest:
        raise DamagedTree(f"the manifest of tree {digest} is damaged: it describes tree {tree.digest}", hint=_HINT)
    return tree


def load_tree(store: ArtifactStore, digest: str) -> Tree:
    """The tree of that digest, checked.

    Raises:
        NotFoundError: there is none.
        StoreError: it cannot be read.
        DamagedTree: it is damaged.
    """
    key = tree_key(check_digest(digest, "the name of a tree"))
    try:
        data = store.read(key).data
    except NotFoundError:
        raise NotFoundError(f"there is no tree {digest} in {store.location}", hint=_HINT) from None
    return decode_tree(data, digest)


_HINT: Final = "run the job that made it again"


def _row(entry: TreeEntry, objects: dict[str, int]) -> list[Any]:
    if entry.kind == "dir":
        return ["d", entry.mode, entry.path]
    if entry.kind == "link":
        return ["l", entry.path, entry.target]
    if entry.inline is not None:
        where: Any = binascii.b2a_base64(entry.inline, newline=False).decode("ascii")
    else:
        where = []
        for name, offset, length in entry.extents:
            where += (objects[name] if name else -1, offset, length)
    return ["f", entry.mode, entry.path, entry.size, entry.digest, where]


def _entry(row: list[Any], objects: list[str]) -> TreeEntry:
    if row[0] == "f":
        _, mode, path, size, digest, where = row
        if isinstance(where, str):
            entry = TreeEntry(path, "file", mode, digest, "", size, (), binascii.a2b_base64(where))
        else:
            entry = TreeEntry(path, "file", mode, digest, "", size, _extents(where, objects))
        _check_file(entry)
    elif row[0] == "l":
        _, path, target = row
        entry = TreeEntry(path, "link", 0, "", target)
        if not target or "\0" in target:
            raise ValueError(f"{path!r} is a link to {target!r}")
    else:
        kind, mode, path = row
        if kind != "d":
            raise ValueError(f"{path!r} is of kind {kind!r}")
        entry = TreeEntry(path, "dir", mode)
    if not isinstance(entry.path, str) or not isinstance(entry.mode, int) or not 0 <= entry.mode <= 0o777:
        raise ValueError(f"{entry.path!r} has mode {entry.mode!r}")
    return entry


def _extents(flat: list[int], objects: list[str]) -> tuple[Extent, ...]:
    if len(flat) == 3:  # nearly every file
        number, offset, length = flat
        return (Extent("" if number == -1 else _nth(objects, number), offset, length),)
    numbers = iter(flat)
    return tuple(
        Extent("" if n == -1 else _nth(objects, n), offset, length)
        for n, offset, length in zip(numbers, numbers, numbers, strict=True)
    )


def _nth(objects: list[str], number: int) -> str:
    if number < 0:
        raise ValueError(f"there is no object {number}")
    return objects[number]


def _check_file(entry: TreeEntry) -> None:
    check_digest(entry.digest, f"the digest of {entry.path!r}")
    stored = 0
    for _, offset, length in entry.extents:
        if type(offset) is not int or type(length) is not int or offset < 0 or length <= 0:
            raise ValueError(f"{entry.path!r} is stored at {offset}, {length} bytes")
        stored += length
    if entry.inline is not None:
        stored = len(entry.inline)
    if stored != entry.size:
        raise ValueError(f"{entry.path!r} has {entry.size} bytes, {stored} are stored")


def _check_paths(entries: list[TreeEntry]) -> None:
    """Every entry lies in a folder of the same tree, under a proper name, once."""
    if not entries or entries[0].path:
        raise ValueError("it has no root")
    if entries[0].kind not in KINDS or (entries[0].kind != "dir" and len(entries) > 1):
        raise ValueError("its root is no folder")
    folders = {""} if entries[0].kind == "dir" else set()
    previous = ""
    for entry in entries[1:]:
        parent, _, name = entry.path.rpartition("/")
        if name in ("", ".", "..") or "\0" in name or parent not in folders or entry.path[0] == "/":
            raise ValueError(f"it names the path {entry.path!r}")
        if entry.path == previous:
            raise ValueError(f"it names {entry.path!r} twice")
        if entry.kind == "dir":
            folders.add(entry.path)
        previous = entry.path
