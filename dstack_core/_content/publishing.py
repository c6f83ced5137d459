"""Manifests: written last of all, so that what a tree names is stored."""

from __future__ import annotations

from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import Tree, blob_key, tree_key
from dstack_core._content.manifest import decode_tree, encode_tree
from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError, StoreError


def publish_tree(store: ArtifactStore, tree: Tree, damage: KnownDamage) -> None:
    """Write the manifest. One that is there already is replaced only if it is not `is_sound`.

    Raises:
        StoreError: the store failed.
    """
    key = tree_key(tree.digest)
    data = encode_tree(tree)
    try:
        store.write(key, data, ABSENT)
    except ConflictError:
        # The same bytes: all that they name was stored, or found, just now.
        if not is_sound(store, tree.digest, damage, ours=data):
            store.write(key, data)
            damage.repaired(tree.digest)


def is_sound(store: ArtifactStore, digest: str, damage: KnownDamage, ours: bytes = b"") -> bool:
    """Whether the tree is stored with all that it names, and nothing of it is known to be damaged. `ours`: a manifest
    of which all that is known."""
    if digest in damage:
        return False
    try:
        data = store.read(tree_key(digest)).data
        if data == ours:
            return True
        tree = decode_tree(data, digest)
    except (StoreError, NotFoundError):
        return False
    objects = {x.object for e in tree.entries for x in e.extents if x.object}
    return all(o not in damage and store.exists(blob_key(o)) for o in objects)
