"""What a store is kept for: tags and runs, and everything that they lead to.

Which objects a record refers to is not read out of its fields: every digest in its bytes counts. So what a newer dstack
adds to a record is kept, too, and that two digests are the same by chance need not be feared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dstack_core._engine.bundle import bundles_in_use
from dstack_core._ledger import documents
from dstack_core._ledger.records import JobRecord, RunRecord, TagRecord
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import NotFoundError, StoreError

_DIGEST: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass
class Kept:
    """What must stay.

    Attributes:
        runs, removed: key segments of the runs that are kept, and of those that were removed.
        digests: of plans and trees, and of anything else that records name.
        trees: those of them that are trees; `objects`: the bytes and packs that these name.
        bundles: what machines were started from lately.
        problems: records that cannot be read, so that nobody knows what they refer to.
    """

    runs: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    trees: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)
    bundles: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def _nothing() -> None:
    """Nobody wants to know."""


def kept(store: ArtifactStore, alive: Callable[[], None] = _nothing) -> Kept:
    """Follow every reference. `alive` is called now and then: it takes a while where there is much.

    Raises:
        StoreError: the store cannot be read. (What is damaged is among the `problems`.)
    """
    found = Kept(bundles=bundles_in_use(store))
    plans: set[str] = set()
    for key in _keys(store, "tags/"):
        alive()
        found.digests |= _digests(_checked(store, TagRecord, key, found))
    for key in _keys(store, "runs/"):
        _, run, rest = key.split("/", 2)
        if rest == "run.json":
            alive()
            data = _checked(store, RunRecord, key, found)
            is_removed = _is_removed(data)
            (found.removed if is_removed else found.runs).add(run)
            plans |= set() if is_removed else _digests(data)
        elif rest.startswith("jobs/"):  # of a removed run, too, while `rm` is at work: harmless
            found.digests |= _digests(_checked(store, JobRecord, key, found))
    for plan in plans:
        alive()
        found.digests |= {plan, *_digests(_read(store, f"plans/{plan}"))}
    _follow_trees(store, found, alive)
    return found


def _digests(data: bytes) -> set[str]:
    return {match.decode() for match in _DIGEST.findall(data)}


def _follow_trees(store: ArtifactStore, found: Kept, alive: Callable[[], None]) -> None:
    for key in _keys(store, "trees/"):
        digest = key.rpartition("/")[2]
        if digest in found.digests:
            alive()
            found.trees.add(digest)
            try:
                found.objects |= _named_objects(_read(store, key))
            except ValueError as error:
                found.problems.append(f"{key} ({error})")


def _named_objects(manifest: bytes) -> set[str]:
    """What the first line of a manifest names (`_content.manifest`). Raises ValueError when it is no manifest."""
    head = json.loads(manifest.partition(b"\n")[0])
    if not isinstance(head, dict) or not isinstance(head.get("objects"), list):
        raise ValueError("it is no manifest")
    return set(head["objects"])


def _keys(store: ArtifactStore, prefix: str) -> Iterator[str]:
    return (info.key for info in store.list(prefix))


def _read(store: ArtifactStore, key: str) -> bytes:
    """Empty for what is gone meanwhile: only `rm` and the like remove records, and what they led to may go then."""
    try:
        return store.read(key).data
    except NotFoundError:
        return b""


def _checked(store: ArtifactStore, cls: type[RunRecord | JobRecord | TagRecord], key: str, found: Kept) -> bytes:
    data = _read(store, key)
    try:
        if data:
            documents.decode(cls, key, data, "")
    except StoreError as error:
        found.problems.append(str(error.message))
    return data


def _is_removed(data: bytes) -> bool:
    try:
        return bool(json.loads(data)["deleted"])
    except (ValueError, LookupError, TypeError):
        return False
