"""What nothing in a store leads to any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from dstack_core._content.damage import PREFIX as DAMAGED
from dstack_core._engine.bundle import PREFIX as BUNDLES
from dstack_core._engine.roots import Kept
from dstack_core._ledger import documents
from dstack_core._ledger.keys import segment
from dstack_core._ledger.traces import Trace
from dstack_core.artifact_store import ArtifactStore, ObjectInfo
from dstack_core.errors import NotFoundError, StoreError

KINDS: Final = ("traces", "trees", "packs", "contents", "plans", "runs", "bundles")
"""In the order in which they have to go: whatever is left when it is broken off, what is named is there."""


class Garbage(NamedTuple):
    """An object to delete. `kind` is one of `KINDS`; `runs`: what is left of removed runs, their logs above all;
    `bundles`: what machines started from."""

    kind: str
    key: str
    size: int


def garbage(store: ArtifactStore, kept: Kept, alive: Callable[[], None]) -> Iterator[Garbage]:
    """Everything that is not kept, in the order in which it has to go. Looks as it goes: `kept` must stay true.

    The record of a removed run stays, so that its name is never given again.
    """
    for prefix in ("traces/", "latest/"):
        yield from _chosen("traces", store.list(prefix), lambda key: _is_lost_trace(store, key, kept, alive))
    yield from _chosen("trees", store.list("trees/"), lambda key: _name(key) not in kept.trees)
    yield from _chosen("packs", store.list("packs/"), lambda key: _name(key) not in kept.objects)
    yield from _chosen("contents", store.list("blobs/"), lambda key: _name(key) not in kept.objects)
    known = kept.trees | kept.objects
    yield from _chosen("contents", store.list(DAMAGED), lambda key: _name(key) not in known)
    yield from _chosen("plans", store.list("plans/"), lambda key: _name(key) not in kept.digests)
    for prefix in ("runs/", "machines/", "index/finished/"):
        yield from _chosen("runs", store.list(prefix), lambda key: _is_of_removed(key, kept))
    yield from _chosen("bundles", store.list(BUNDLES), lambda key: key.split("/")[1] not in kept.bundles)


def _chosen(kind: str, infos: Iterator[ObjectInfo], is_garbage: Callable[[str], bool]) -> Iterator[Garbage]:
    return (Garbage(kind, info.key, info.size) for info in infos if is_garbage(info.key))


def _is_lost_trace(store: ArtifactStore, key: str, kept: Kept, alive: Callable[[], None]) -> bool:
    """Whether nothing can be reused by it: what it made is gone; or it made nothing, and its run was removed."""
    alive()
    try:
        document = documents.read(store, Trace, key)
    except NotFoundError:
        return False
    except documents.DamagedError as damage:
        return damage.format <= documents.FORMAT
    trace = document.value
    if document.format > documents.FORMAT:
        return False
    if not trace.artifacts:
        return segment(trace.run) in kept.removed
    return not all(artifact.tree in kept.trees for artifact in trace.artifacts)


def _is_of_removed(key: str, kept: Kept) -> bool:
    top, _, rest = key.partition("/")
    if top == "index":
        return rest.rpartition("/")[2].partition("-")[2] in kept.removed
    return rest.partition("/")[0] in kept.removed and not key.endswith("/run.json")


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def refuse_problems(kept: Kept) -> None:
    """Raises StoreError when records cannot be read: what they refer to would look like garbage."""
    if kept.problems:
        more = f" and {len(kept.problems) - 3} more" if len(kept.problems) > 3 else ""
        raise StoreError(
            f"nothing can be freed while it is not known what these refer to: {'; '.join(kept.problems[:3])}{more}",
            hint="remove the runs or tags that they belong to: dstack rm RUN, dstack tags delete TAG",
            lasting=True,
        )
