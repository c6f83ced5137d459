"""Trees of files in an artifact store: save, load, restore, check. The room's front door for artifacts.

Keys: `blobs/<aa>/<sha256>` are bytes (a part of a large file, or a pack of small ones), `packs/<sha256>` says what a
pack holds, `trees/<aa>/<digest>` is a manifest and is written last: what a tree names is stored.
"""

from __future__ import annotations

from dstack_core._content.entries import Extent, Tree, TreeEntry, tree_key
from dstack_core._content.fetching import Problem
from dstack_core._content.lastsave import SavedTree
from dstack_core._content.manifest import load_tree
from dstack_core._content.restoring import check_tree, restore_entries, restore_tree
from dstack_core._content.saving import save_tree

__all__ = [
    "Extent",
    "Problem",
    "SavedTree",
    "Tree",
    "TreeEntry",
    "check_tree",
    "load_tree",
    "restore_entries",
    "restore_tree",
    "save_tree",
    "tree_key",
]
