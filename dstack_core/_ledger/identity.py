"""Which store this is: `store/id`, random, written by whoever first needs it, and never changed.

Machines are labelled with it, so that two teams with a store each in one cloud account end their own machines only.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError

KEY: Final = "store/id"


def store_id(store: ArtifactStore) -> str:
    """The store's id. Raises StoreError."""
    try:
        return store.read(KEY).data.decode()
    except NotFoundError:
        with contextlib.suppress(ConflictError):  # somebody else was first
            store.write(KEY, os.urandom(8).hex().encode(), ABSENT)
        return store.read(KEY).data.decode()
