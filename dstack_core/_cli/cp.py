"""`dstack cp`: artifacts out of the store."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dstack_core._cli import words
from dstack_core._cli.context import context
from dstack_core._cli.kept import Kept, escaped, kept_by, overlaps, place_of
from dstack_core._cli.lookup import complete_run_or_tag, suggest
from dstack_core._cli.render import write_json
from dstack_core.errors import NotFoundError

if TYPE_CHECKING:
    from dstack_core._content.entries import Tree, TreeEntry
    from dstack_core.artifact_store import ArtifactStore


@click.command(no_args_is_help=True)
@click.argument("source", metavar="RUN|:TAG", shell_complete=complete_run_or_tag)
@click.argument("paths", nargs=-1, required=True, metavar="[SRC] DST", type=click.Path())
@click.option("-j", "--job", help="Only what this job of the run left behind.")
@click.option("-f", "--force", is_flag=True, help="Overwrite files that differ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cp(source: str, paths: tuple[str, ...], job: str | None, force: bool, as_json: bool) -> None:
    """Copy artifacts of RUN or :TAG to DST on this machine.

    SRC is a file or folder as `dstack ls` shows it; without one, or with `.`, everything is copied into DST. As with
    `cp -r`, a file or folder goes into DST under its own name if DST is a folder, and becomes DST if not; `SRC/.` is
    what is in the folder SRC. Folders above DST are made if need be.

    Each file is verified. Files that are there already with the same content are left alone; if one differs, nothing
    is copied without --force. Where several jobs left the same file, the last one's counts.
    """
    from dstack_core._cli.bar import transfer_bar
    from dstack_core._content.copying import copy_out

    if len(paths) > 2:
        raise click.UsageError("One SRC and one DST: to copy several, call it several times.")
    wanted, to = paths[0] if len(paths) == 2 else ".", paths[-1]
    store, everything = kept_by(context(), source)
    kept = _of_job(everything, source, job)
    chosen = _chosen(store, kept, place_of(wanted))
    if not chosen:
        missing = NotFoundError(f"{source} has no {wanted if place_of(wanted) else 'artifacts'}")
        missing.hint = f"dstack ls -r {source}"
        raise suggest(missing, place_of(wanted), (one.artifact.path for one in kept))
    target, tree = _aimed(chosen, wanted, to)
    with transfer_bar(f"Copying {escaped(wanted)}") as progress:
        found = copy_out(store, tree, target, force=force, progress=progress)
    summary = {
        "source": source,
        "path": place_of(wanted) or ".",
        "destination": os.path.abspath(to),
        "files": tree.files,
        "size": tree.size,
        "unchanged": found.unchanged,
        "overwritten": len(found.different),
    }
    if as_json:
        write_json(summary)
    else:
        there = f", {found.unchanged:,} of them there already" if found.unchanged else ""
        click.echo(f"{escaped(to)}: {words.plural(tree.files, 'file')} ({words.size(tree.size)}){there}")


def _of_job(kept: list[Kept], source: str, job: str | None) -> list[Kept]:
    chosen = [one for one in kept if job in (None, one.job)]
    if job is not None and not chosen:
        missing = NotFoundError(f"{source} has no artifacts of a job {job}", hint=f"dstack ls {source}")
        raise suggest(missing, job, (one.job for one in kept if one.job))
    return chosen


def _chosen(store: ArtifactStore, kept: list[Kept], place: str) -> dict[str, TreeEntry]:
    """What is at `place` or in it, by its path relative to that: `""` is the place itself."""
    chosen = _at(store, kept, place)
    if not chosen and "\\" in place:  # as `ls` writes names that would disturb a terminal
        names = {escaped(path): path for path in _at(store, kept, "")}
        chosen = _at(store, kept, names[place]) if place in names else {}
    return chosen


def _at(store: ArtifactStore, kept: list[Kept], place: str) -> dict[str, TreeEntry]:
    from dstack_core._content.tree import load_tree

    chosen: dict[str, TreeEntry] = {}
    for one in kept:
        if overlaps(one.artifact, place):
            for entry in load_tree(store, one.artifact.tree):
                path = f"{place_of(one.artifact.path)}/{entry.path}".rstrip("/")
                if not place or path == place or path.startswith(f"{place}/"):
                    within = path[len(place) :].lstrip("/")
                    chosen[within] = entry._replace(path=within)
    return chosen


def _aimed(chosen: Mapping[str, TreeEntry], wanted: str, to: str) -> tuple[Path, Tree]:
    """Where to copy to, and the tree that is to be there."""
    from dstack_core._content.entries import Tree

    place, name = place_of(wanted), posixpath.basename(place_of(wanted))
    is_folder = "" not in chosen or chosen[""].kind == "dir"
    into = os.path.isdir(to) or (to.endswith("/") and not is_folder)
    contents = is_folder and (not place or wanted.rstrip("/").endswith("/.") or not into)
    if contents:
        return Path(to), Tree(_with_folders(chosen))
    if not into:
        to, name = os.path.split(os.path.abspath(to))
    moved = (entry._replace(path=posixpath.join(name, path).rstrip("/")) for path, entry in chosen.items())
    return Path(to), Tree(_with_folders({entry.path: entry for entry in moved}))


def _with_folders(entries: Mapping[str, TreeEntry]) -> Iterator[TreeEntry]:
    """The entries, and the folders above them that no artifact has an entry for."""
    from dstack_core._content.entries import TreeEntry
    from dstack_core._content.places import current_umask

    made: set[str] = set()
    for path, entry in entries.items():
        yield entry
        while path:
            path = path.rpartition("/")[0]
            if path not in entries and path not in made:
                made.add(path)
                yield TreeEntry(path, "dir", 0o700 | 0o777 & ~current_umask())
