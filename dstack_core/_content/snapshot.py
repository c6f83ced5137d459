"""The working tree as it is: tracked, untracked and not ignored, changed and not committed, in git and outside.

In git, git says what belongs (submodules and repositories inside are asked in turn); outside, everything does that no
`.gitignore` leaves out. What `.dstackignore` (same syntax) names is left out in both. `.git` never belongs.

A file's permissions are the owner's own; group and others get the same without writing, or nothing if they have
nothing. So two people with different umasks, or a fresh clone, have the same snapshot of the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shutil import which

from dstack_core._content import gitrepo
from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import Tree, tree_key
from dstack_core._content.scanning import scan_git, scan_plain
from dstack_core._content.walk import root_bytes
from dstack_core._content.work import Progress, collector_paused
from dstack_core.artifact_store import ArtifactStore


@dataclass(frozen=True)
class Snapshot:
    """A working tree.

    Attributes:
        digest: of `tree`, which knows each file's digest; nothing is stored yet.
        repo: `OWNER/REPO` of the remote `origin`, or `local/<folder>-<4 hex digits of its path>`.
        branch, commit: None outside git, on no branch, before the first commit.
        summary: how it differs from the commit, e.g. `2 changed, 1 new`; empty if it does not.
        changed: up to 20 of the paths that differ.
        warnings: what was left out though nobody asked for that: sockets, pipes, files that vanished.
    """

    digest: str
    tree: Tree
    repo: str
    branch: str | None = None
    commit: str | None = None
    summary: str = ""
    changed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def scan_snapshot(root: Path) -> Snapshot:
    """Look at the working tree at `root`, a folder, possibly inside a repository. Stores nothing.

    Raises:
        InputError: git cannot read the repository, or an ignore file has a wrong pattern.
        JobError: a file cannot be read.
    """
    base = root_bytes(root)
    top = gitrepo.find_repository(base) if which("git") else None
    with collector_paused():
        scan = scan_plain(base) if top is None else scan_git(base, top)
    status = scan.status
    return Snapshot(
        scan.tree.digest,
        scan.tree,
        gitrepo.repository_name(top, base),
        status.branch,
        status.commit,
        status.summary,
        status.changed,
        scan.warnings,
    )


def store_snapshot(store: ArtifactStore, root: Path, snapshot: Snapshot, progress: Progress | None = None) -> None:
    """Store what of the snapshot is not stored yet, or is known to be damaged.

    Raises:
        JobError: a file changed since the snapshot was taken.
        StoreError: the store failed.
    """
    if not store.exists(tree_key(snapshot.digest)) or snapshot.digest in KnownDamage(store):
        from dstack_core._content.saving import save_known  # the usual case is that nothing changed

        with collector_paused():
            save_known(store, root_bytes(root), snapshot.tree, progress)
