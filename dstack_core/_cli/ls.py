"""`dstack ls`: the artifacts of a run or a tag, and the files in them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import context
from dstack_core._cli.kept import Kept, escaped, inside, kept_by, overlaps, place_of
from dstack_core._cli.lookup import complete_run_or_tag, suggest
from dstack_core._cli.render import table
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import NotFoundError
from dstack_core.models import Artifact

Row = dict[str, Any]
FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {"path": escaped, "size": words.size, "files": lambda n: f"{n:,}"}


@click.command()
@click.argument("source", metavar="RUN|:TAG", shell_complete=complete_run_or_tag)
@click.argument("prefix", required=False)
@click.option("-r", "--recursive", is_flag=True, help="List every file.")
@click.option("-t", "--total", is_flag=True, help="Add a line with the sums.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(source: str, prefix: str | None, recursive: bool, total: bool, as_json: bool) -> None:
    """List the artifacts of RUN or :TAG; with PREFIX, what is in that folder of them."""
    store, kept = kept_by(context(), source)
    below = place_of(prefix)
    if below or recursive:
        rows = list(_contents(store, kept, below, recursive=recursive))
    else:
        rows = [_row(one, one.artifact.path, "artifact", one.artifact.size, one.artifact.files) for one in kept]
    if below and not rows:
        missing = NotFoundError(f"{source} has no {prefix}", hint=f"dstack ls -r {source}")
        raise suggest(missing, below, (one.artifact.path for one in kept))
    several = len({one.job for one in kept}) > 1
    columns = [*(["workflow"] if several else []), "path", "size", *(["files"] if not recursive else [])]
    if total and not as_json:
        rows.append({"path": "total", "size": sum(r["size"] for r in rows), "files": sum(r["files"] for r in rows)})
    if not as_json:
        rows = [{**row, "path": f"{row['path']}/"} if row.get("kind") == "dir" else row for row in rows]
    if rows or as_json:
        table(columns, rows, json=as_json, formats=FORMATS)
    else:
        click.echo(f"{source} has no artifacts.")


def _contents(store: ArtifactStore, kept: list[Kept], below: str, *, recursive: bool) -> Iterator[Row]:
    """With `recursive` every file, link and empty folder; else what is directly in the folder, summed up."""
    for one in kept:
        found: dict[str, Row] = {}
        folders = set()
        for path, kind, size in _paths(store, one.artifact, below):
            rest = inside(path, below)
            if rest is None or (kind == "dir" and path == below):
                continue
            folders.add(posixpath.dirname(path))
            step, _, deeper = rest.partition("/")
            shown = path if recursive or not deeper else posixpath.join(below, step)
            row = found.setdefault(shown, _row(one, shown, "dir" if deeper and not recursive else kind, 0, 0))
            row["size"] += size
            row["files"] += kind == "file"
        yield from (row for path, row in found.items() if not (recursive and row["kind"] == "dir" and path in folders))


def _paths(store: ArtifactStore, artifact: Artifact, below: str) -> Iterator[tuple[str, str, int]]:
    """Path, kind and size of everything in an artifact, unless none of it can be below."""
    from dstack_core._content.tree import load_tree

    if not overlaps(artifact, below):
        return
    for entry in load_tree(store, artifact.tree):
        yield (
            posixpath.join(place_of(artifact.path), entry.path) if entry.path else artifact.path,
            entry.kind,
            entry.size,
        )


def _row(one: Kept, path: str, kind: str, size: int, files: int) -> Row:
    return {
        "workflow": one.workflow,
        "job": one.job,
        "path": path,
        "kind": kind,
        "size": size,
        "files": files,
        "artifact": one.artifact.path,
        "tree": one.artifact.tree,
    }
