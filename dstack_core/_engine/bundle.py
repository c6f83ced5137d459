"""Bundles in the store: what machines that are other computers start from.

bundles/<digest>/archive   a `.tar`, see `wheels`
bundles/<digest>/used      when a machine was last started from it; `gc` removes what was not for a day
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dstack_core._ledger import documents
from dstack_core._ledger.marks import saving
from dstack_core.artifact_store import ABSENT, ArtifactStore, SupportsLinks
from dstack_core.errors import ConflictError, InputError, NotFoundError, StoreError
from dstack_core.home import dstack_home
from dstack_core.models import Bundle

if TYPE_CHECKING:
    from dstack_core._engine.parts import Part

PREFIX: Final = "bundles/"
KEPT: Final = 86400.0
"""Seconds after its last use for which a bundle is kept."""
VARIABLE: Final = "DSTACK_BUNDLE"
"""Environment of a runner on such a machine: digest and size of what it was started from, for the next machine."""
LINK: Final = 3600.0
"""Seconds for which a machine may fetch its bundle, and report."""
_FRESH: Final = 3600.0


@dataclass(frozen=True)
class Use:
    """When a machine was last to be started from a bundle."""

    time: float


def stored_bundle(store: ArtifactStore, parts: Sequence[Part]) -> Bundle:
    """The bundle with these parts and all that they need; on a machine, the one that it came from.

    Raises:
        InputError: the store gives no links; or something that is installed cannot be packed.
        StoreError: it cannot be stored.
    """
    if not isinstance(store, SupportsLinks):
        raise InputError(
            f"machines elsewhere cannot start from the artifact store {store.location}, which gives no links",
            hint="choose one that they reach, such as s3: dstack config set remotes.NAME.artifact_store s3",
        )
    known = os.environ.get(VARIABLE, "").split()
    if len(known) == 2:
        digest, size = known[0], int(known[1])
        touch(store, digest)
    else:
        digest, size = _stored(store, parts)
    return linked(store, Bundle("", digest, size))


def linked(store: SupportsLinks, bundle: Bundle) -> Bundle:
    """The same with a new link. Raises StoreError."""
    return replace(bundle, url=store.link(_archive(bundle.digest), LINK))


def touch(store: ArtifactStore, digest: str) -> None:
    """Note that a bundle is used, so that `gc` leaves it."""
    key, now = _used(digest), time.time()
    try:
        documents.update(store, Use, key, lambda use: Use(now) if now - use.time > _FRESH else None)
    except NotFoundError:
        with contextlib.suppress(ConflictError):  # by somebody else, just now
            documents.create(store, key, Use(now))


def bundles_in_use(store: ArtifactStore) -> set[str]:
    """Digests of the bundles that `gc` leaves."""
    found = set()
    for info in store.list(PREFIX):
        if info.key.endswith("/used"):
            with contextlib.suppress(NotFoundError, documents.DamagedError):
                if time.time() - documents.read(store, Use, info.key).value.time < KEPT:
                    found.add(info.key.split("/")[1])
    return found


def _stored(store: ArtifactStore, parts: Sequence[Part]) -> tuple[str, int]:
    from dstack_core._engine.wheels import archive

    kept = archive(parts, dstack_home() / "cache" / "bundles")
    digest, size = kept.stem.rpartition("-")[2], kept.stat().st_size
    if _is_safe(store, digest) and store.exists(_archive(digest)):
        return digest, size  # without a byte of it read
    with saving(store, "what machines start from"):
        touch(store, digest)
        if not store.exists(_archive(digest)):
            with contextlib.suppress(ConflictError):
                store.write(_archive(digest), _checked(kept, digest), ABSENT)
    return digest, size


def _is_safe(store: ArtifactStore, digest: str) -> bool:
    """Whether no `gc` takes it before its next use is noted, whatever the clocks say: it was used a short while ago."""
    try:
        used = documents.read(store, Use, _used(digest)).value.time
    except (NotFoundError, documents.DamagedError):
        return False
    return time.time() - used < _FRESH


def _checked(kept: Path, digest: str) -> bytes:
    """Raises StoreError: it is not what it was. The next time, it is made anew."""
    import hashlib

    data = kept.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        kept.unlink()
        raise StoreError(f"{kept} is damaged", hint="run it again")
    return data


def _used(digest: str) -> str:
    return f"{PREFIX}{digest}/used"


def _archive(digest: str) -> str:
    return f"{PREFIX}{digest}/archive"
