"""`dstack tags`: names for artifacts."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import complete_run, complete_tag, confirm, everywhere, find_run, find_tag, warn, warn_of
from dstack_core._cli.remotes import remote_option
from dstack_core._cli.render import table
from dstack_core._cli.runs import ago, look, moment
from dstack_core._engine.remote import DEFAULT
from dstack_core._ledger import tags as ledger
from dstack_core._ledger.records import FINISHED, RunRecord, TagRecord
from dstack_core.errors import ConflictError, InputError, JobError, StoreError
from dstack_core.models import Artifact

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
COLUMNS: Final = ("tag", "workflow", "run", "created", "artifacts", "size")
FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "created": ago,
    "size": words.size,
    "artifacts": lambda artifacts: ", ".join(artifact["path"] for artifact in artifacts),
}


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def tags(ctx: click.Context, as_json: bool) -> None:
    """List the repository's tags; add and delete them.

    A tag names the artifacts of a finished run, or of uploaded folders. Workflows refer to it: `deps: [{tag: NAME}]`.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@tags.command("list")
@_json
def list_(as_json: bool) -> None:
    """List the repository's tags."""
    _list(as_json)


@tags.command()
@click.argument("tag", shell_complete=complete_tag)
@click.argument("run", required=False, shell_complete=complete_run)
@click.option(
    "-a",
    "--artifact",
    "paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Upload this file or folder instead; can be given several times.",
)
@remote_option("With -a: upload to this remote. A run's tag is where the run is.")
@click.option("-f", "--move", is_flag=True, help="Move the tag if it exists.")
def add(tag: str, run: str | None, paths: tuple[Path, ...], remote: str | None, move: bool) -> None:
    """Name the artifacts of RUN, or of local files and folders (-a PATH).

    Uploaded paths are relative to the project, so that a workflow that depends on the tag finds them at the same
    places; one from elsewhere is found under its own name.
    """
    from dstack_core._engine.tagging import check_tag
    from dstack_core._ledger.marks import saving

    if (run is None) != bool(paths):
        raise click.UsageError("Give a RUN, or files and folders with -a PATH.")
    name = check_tag(tag.removeprefix(":"))
    here, record = find_run(context(), run) if run is not None else (context().at(remote), None)
    if not move and here.store.exists(ledger.tag_key(here.repo, name)):
        raise ConflictError(f"the tag {name} exists", hint="--move moves it")  # before anything is uploaded
    with saving(here.store, f"dstack tags add {name}"):
        made = _of_run(here, name, record) if record is not None else _uploaded(here, name, paths)
        ledger.write_tag(here.store, made, move=move)
    shown = ", ".join(artifact.path for artifact in made.artifacts)
    click.echo(f"{name}: {shown} ({words.size(sum(artifact.size for artifact in made.artifacts))})")


@tags.command()
@click.argument("tag", shell_complete=complete_tag)
@remote_option("That of this remote.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(tag: str, remote: str | None, yes: bool) -> None:
    """Delete a tag. Runs and their artifacts stay."""
    here = context().at(remote)
    name = tag.removeprefix(":")
    try:
        if remote is None:
            here, _ = find_tag(here, here.repo, name)
    except StoreError as error:
        warn_of(error)  # a damaged tag can be deleted, too
    confirm(f"Delete the tag {name}?", yes=yes)
    ledger.delete_tag(here.store, here.repo, name)
    click.echo(f"{name}: deleted")


def _list(as_json: bool) -> None:
    here = context()
    rows = [_row(tag, there.remote.name) for there in everywhere(here, warn_of) for tag in _tags(there)]
    if rows or as_json:
        more = {
            "remote": any(row["remote"] != DEFAULT.name for row in rows),
            "user": any(row["user"] != here.user for row in rows),
        }
        columns = (*COLUMNS, *(column for column, shown in more.items() if shown))
        table(columns, rows, json=as_json, formats=FORMATS)
    else:
        click.echo("No tags yet. Add one with: dstack tags add TAG RUN")


def _tags(there: Context) -> Iterator[TagRecord]:
    try:
        yield from ledger.tags(there.store, there.repo, warn_of)
    except StoreError as error:  # a remote that does not answer
        if there.is_home:
            raise
        warn_of(error)


def _row(tag: TagRecord, remote: str) -> dict[str, Any]:
    return {
        "tag": tag.name,
        "workflow": tag.workflow,
        "run": tag.run,
        "created": moment(tag.created),
        "artifacts": [{"path": a.path, "files": a.files, "size": a.size, "tree": a.tree} for a in tag.artifacts],
        "size": sum(a.size for a in tag.artifacts),
        "user": tag.user,
        "repo": tag.repo,
        "remote": remote,
    }


def _of_run(here: Context, name: str, record: RunRecord) -> TagRecord:
    from dstack_core._engine.tagging import tag_of
    from dstack_core._engine.view import RunView

    run = record.name
    if record.status not in FINISHED:
        record, status = look(here, record, warn_of)
        if record.status not in FINISHED:
            raise InputError(f"{run} cannot be tagged yet: it is {status}", hint=f"dstack logs -a {run}")
    # The tag belongs to the repository that it is added in, where workflows look for it.
    return replace(tag_of(RunView(here.store, run), name, here.user), repo=here.repo)


def _uploaded(here: Context, name: str, paths: tuple[Path, ...]) -> TagRecord:
    from dstack_core._cli.bar import transfer_bar
    from dstack_core._content.tree import save_tree

    artifacts: dict[str, Artifact] = {}
    for path in paths:
        place = _place(here.project, path)
        if place in artifacts:
            raise InputError(f"two paths would be {place}")
        try:
            with transfer_bar(f"Uploading {path.name}") as progress:
                saved = save_tree(here.store, path, progress=progress)
        except JobError as error:
            raise InputError(f"{path} cannot be uploaded: {error}", hint=error.hint) from None
        for warning in saved.warnings:
            warn(warning)
        artifacts[place] = Artifact(place, saved.digest, saved.files, saved.size)
    return TagRecord(name, here.repo, here.user, time.time(), tuple(artifacts.values()))


def _place(project: Path, path: Path) -> str:
    """Where a workflow finds it: its path in the project, or its name."""
    absolute = path.absolute()
    try:
        place = (absolute.parent.resolve() / absolute.name).relative_to(project.resolve())
    except ValueError:
        place = Path(absolute.name)
    text = posixpath.normpath(place.as_posix())
    if text in ("", ".", ".."):
        raise InputError(f"{path} is the whole project", hint="name the files and folders in it that you want to tag")
    return text
