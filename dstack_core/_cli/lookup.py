"""Runs and tags by the names that people type: exact names only, close matches when there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from typing import Final

import click

from dstack_core._cli.context import context
from dstack_core._cli.render import one_line
from dstack_core._ledger.records import RunRecord, TagRecord
from dstack_core._ledger.runs import read_run, run_names
from dstack_core._ledger.tags import read_tag, tag_names
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, NotFoundError

RECENT: Final = 200
"""Finished runs among which a name that does not exist is looked for."""


def find_run(store: ArtifactStore, repo: str, name: str) -> RunRecord:
    """The run of exactly that name. Raises NotFoundError with the names that come close."""
    try:
        return read_run(store, name).value
    except NotFoundError as error:
        raise suggest(error, name, run_names(store, repo, RECENT)) from None


def find_tag(store: ArtifactStore, repo: str, name: str) -> TagRecord:
    """The tag of exactly that name. Raises NotFoundError with the names that come close."""
    try:
        return read_tag(store, repo, name)
    except NotFoundError as error:
        raise suggest(error, name, tag_names(store, repo)) from None


def suggest(error: NotFoundError, name: str, known: Iterable[str]) -> NotFoundError:
    """The error with the known names that come close to `name`."""
    import difflib

    close = difflib.get_close_matches(name, islice(known, 1000), 3)
    if not close:
        return error
    return NotFoundError(f"{error.message}; did you mean {' or '.join(close)}?", hint=error.hint)


def warn(message: str) -> None:
    """Tell on stderr what is wrong with one thing while the command goes on with the others."""
    click.echo(f"warning: {one_line(message)}", err=True)


def warn_of(error: DstackError) -> None:
    """`warn` of an error, with its hint."""
    warn(f"{error} ({error.hint})" if error.hint else str(error))


class Warnings:
    """Tells each error once, however often it is met while a command goes on with the other things."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, error: DstackError) -> None:
        """`warn_of` it, the first time."""
        if str(error) not in self._told:
            self._told.add(str(error))
            warn_of(error)


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the user agrees.

    Raises:
        click.UsageError: there is no terminal to ask on.
        click.Abort: the user does not agree.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask on: add -y to say yes.")
    click.confirm(question, abort=True, err=True)


def complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: names of the repository's active runs and of some finished ones."""
    return _complete(ctx, incomplete, runs=True)


def complete_job(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: names of the jobs of the run that stands before."""
    names: list[str] = []
    try:
        with ctx.scope(cleanup=False):
            here = context()
            from dstack_core._cli.jobs import read_run_plan

            run = find_run(here.store, here.repo, str(ctx.params["run"]))
            names = [job.name for job in read_run_plan(here.store, run).jobs]
    except Exception:  # completion must never disturb the shell
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_tag(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: names of the repository's tags."""
    return _complete(ctx, incomplete, tags="")


def complete_run_or_tag(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: names of runs, and of tags with a colon before them."""
    return _complete(ctx, incomplete, runs=True, tags=":")


def _complete(ctx: click.Context, incomplete: str, *, runs: bool = False, tags: str | None = None) -> list[str]:
    names: list[str] = []
    try:
        with ctx.scope(cleanup=False):
            here = context()
            if runs:
                names += run_names(here.store, here.repo, RECENT)
            if tags is not None:
                names += (tags + name for name in tag_names(here.store, here.repo))
    except Exception:  # completion must never disturb the shell
        return []
    return [name for name in names if name.startswith(incomplete)]
