"""`dstack ls`: the artifacts of a run or a tag, and the files in them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context, context
from dstack_core._cli.jobs import job_records
from dstack_core._cli.lookup import complete_run_or_tag, find_run, find_tag, suggest, warn_of
from dstack_core._cli.render import table
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import NotFoundError
from dstack_core.models import Artifact

Row = dict[str, Any]


def escaped(name: str) -> str:
    """A file's name as one printable word: names are data, and bytes of them must not steer the terminal."""
    return "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in name)


FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {"path": escaped, "size": words.size, "files": lambda n: f"{n:,}"}


@click.command()
@click.argument("source", metavar="RUN|:TAG", shell_complete=complete_run_or_tag)
@click.argument("prefix", required=False)
@click.option("-r", "--recursive", is_flag=True, help="List every file.")
@click.option("-t", "--total", is_flag=True, help="Add a line with the sums.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(source: str, prefix: str | None, recursive: bool, total: bool, as_json: bool) -> None:
    """List the artifacts of RUN or :TAG; with PREFIX, what is in that folder of them."""
    here = context()
    kept = list(_of_tag(here, source[1:]) if source.startswith(":") else _of_run(here, source))
    below = _normal(prefix)
    if below or recursive:
        rows = list(_contents(here.store, kept, below, recursive=recursive))
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


@dataclass(frozen=True)
class Kept:
    """An artifact, and the job and workflow that made it; neither is known of uploaded ones."""

    artifact: Artifact
    job: str | None
    workflow: str | None


def _of_run(here: Context, name: str) -> Iterator[Kept]:
    run = find_run(here.store, here.repo, name)
    for planned, job in job_records(here.store, run, warn_of):
        for artifact in job.artifacts:
            yield Kept(artifact, planned.name, planned.workflow)


def _of_tag(here: Context, name: str) -> Iterator[Kept]:
    tag = find_tag(here.store, here.repo, name)
    return (Kept(artifact, tag.workflow, tag.workflow) for artifact in tag.artifacts)


def _contents(store: ArtifactStore, kept: list[Kept], below: str, *, recursive: bool) -> Iterator[Row]:
    """With `recursive` every file, link and empty folder; else what is directly in the folder, summed up."""
    for one in kept:
        found: dict[str, Row] = {}
        folders = set()
        for path, kind, size in _paths(store, one.artifact, below):
            inside = _inside(path, below)
            if inside is None or (kind == "dir" and path == below):
                continue
            folders.add(posixpath.dirname(path))
            step, _, deeper = inside.partition("/")
            shown = path if recursive or not deeper else posixpath.join(below, step)
            row = found.setdefault(shown, _row(one, shown, "dir" if deeper and not recursive else kind, 0, 0))
            row["size"] += size
            row["files"] += kind == "file"
        yield from (row for path, row in found.items() if not (recursive and row["kind"] == "dir" and path in folders))


def _paths(store: ArtifactStore, artifact: Artifact, below: str) -> Iterator[tuple[str, str, int]]:
    """Path, kind and size of everything in an artifact, unless none of it can be below."""
    from dstack_core._content.tree import load_tree

    if _inside(artifact.path, below) is None and _inside(below, artifact.path) is None:
        return
    for entry in load_tree(store, artifact.tree):
        yield posixpath.join(artifact.path, entry.path) if entry.path else artifact.path, entry.kind, entry.size


def _inside(path: str, folder: str) -> str | None:
    """`path` relative to `folder`, None when it is not in it. A file is in itself, under its own name."""
    if not folder:
        return path
    if path == folder:
        return posixpath.basename(path)
    return path[len(folder) + 1 :] if path.startswith(folder + "/") else None


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


def _normal(prefix: str | None) -> str:
    path = posixpath.normpath(prefix) if prefix else ""
    return "" if path == "." else path


def _escape(char: str) -> str:
    # Lone surrogates stand for bytes that are no UTF-8.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
