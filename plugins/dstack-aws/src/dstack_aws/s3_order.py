"""The order of listings on servers that keep objects in folders.

AWS lists keys by their bytes. SeaweedFS, for one, walks through folders by name: what is in `a/` comes before `a-b`
and `a.b`, although `-` and `.` are less than `/`. The following is right for both orders, and costs something only
where a listing has folders in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from dstack_core.artifact_store import ObjectInfo


def start_before(prefix: str, after: str) -> str:
    """From where to list, so that all keys behind `after` come in either order. `after` begins with `prefix`."""
    for i in range(len(prefix), len(after)):
        if after[i] < "/":
            return after[:i]  # what is in the folder of this name is behind `after` by bytes, before it by folders
    return after


def in_byte_order(found: Iterable[ObjectInfo], prefix: str) -> Iterator[ObjectInfo]:
    """The same, by their bytes. Keeps back what is in a folder until nothing can come that belongs before it."""
    held: list[ObjectInfo] = []
    folder = ""
    for info in found:
        if held and _belongs_before(info.key, folder):
            held.append(info)
            continue
        yield from sorted(held, key=attrgetter("key"))
        held = []
        end = info.key.find("/", len(prefix))
        if end < 0:
            yield info
        else:
            folder = info.key[:end]
            held.append(info)
    yield from sorted(held, key=attrgetter("key"))


def _belongs_before(key: str, folder: str) -> bool:
    """Whether `key` is in `folder`, or may sort before what is."""
    return key.startswith(folder) and key[len(folder) : len(folder) + 1] <= "/"
