"""What in a store is known to be damaged: an empty object `damaged/<digest>` for each such tree and stored object.

Whoever finds, twice, that bytes are not those that their name says writes it down. From then on no job takes over a
damaged tree, so that the job which made it runs again, and whoever saves the bytes of a damaged object puts them in its
place and takes the note away. Until then the object stays: it may be a pack whose other files are whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, StoreError

PREFIX: Final = "damaged/"


def record_damage(store: ArtifactStore, digests: Iterable[str]) -> None:
    """Let everybody know. That it cannot be written is no error: the damage itself is what the caller tells of."""
    for digest in digests:
        with suppress(ConflictError, StoreError):
            store.write(f"{PREFIX}{digest}", b"", ABSENT)


class KnownDamage:
    """What was known when this was first asked; one listing. For one save or one plan."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._found: set[str] | None = None

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def repaired(self, digest: str) -> None:
        """What was damaged has been stored anew. Raises StoreError."""
        if digest in self._known:
            self._store.delete(f"{PREFIX}{digest}")
            self._known.discard(digest)

    @property
    def _known(self) -> set[str]:
        # No cached_property: before Python 3.12 one lock of all instances is held while it lists.
        with self._lock:
            if self._found is None:
                self._found = {info.key.removeprefix(PREFIX) for info in self._store.list(PREFIX)}
            return self._found
