"""A code snapshot in a folder of its own: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dstack_core._content.restoring import restore_tree
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, StoreError


def check_out(
    store: ArtifactStore, digest: str, target: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Restore the tree `digest` to `target`, which is new or empty. When this fails, it is as it was.

    Killed on the way, it leaves a folder `.dstack-...`: beside a new target, in one that was there.

    Raises:
        ConflictError: something is there.
        NotFoundError, StoreError: the tree, or part of it, is not stored or damaged; or the disk is full.
    """
    target = Path(os.path.abspath(target))
    there = os.path.lexists(target)
    if there and (not target.is_dir() or any(target.iterdir())):
        raise ConflictError(
            f"{target} {'is not empty' if target.is_dir() else 'is no folder'}", hint="name a new or empty folder"
        )
    staged = (target if there else target.parent) / f".dstack-{os.urandom(8).hex()}"
    try:
        restore_tree(store, digest, staged, progress)
        if there:
            for child in list(staged.iterdir()):
                child.rename(target / child.name)
            staged.rmdir()
        else:
            staged.rename(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)
