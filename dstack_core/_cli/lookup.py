"""Runs and tags by the names that people type: exact names only, close matches when there is none."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.render import one_line
from dstack_core._ledger.records import RunRecord, TagRecord
from dstack_core._ledger.runs import read_run, run_names
from dstack_core._ledger.tags import read_tag, tag_names
from dstack_core.errors import DstackError, NotFoundError

T = TypeVar("T")
RECENT: Final = 200
"""Finished runs among which a name that does not exist is looked for."""


def find_run(here: Context, name: str, places: Iterable[Context] | None = None) -> tuple[Context, RunRecord]:
    """The run of exactly that name, on this machine or else on a remote (or in one of `places`), and where it was
    found.

    Raises:
        NotFoundError: there is none; with the names that come close.
        DstackError: it is not on this machine, and a remote cannot be asked.
    """
    among = here.everywhere() if places is None else places
    there, run = _find(among, name, lambda there: read_run(there.store, name).value, _run_names)
    return place_of(there, run), run


def place_of(there: Context, run: RunRecord) -> Context:
    """The remote by whose machines a run of this store is done: the one that it names, if it is the user's, too."""
    if run.remote == there.remote.name:
        return there
    with contextlib.suppress(DstackError):
        named = there.at(run.remote)
        if named.store.location == there.store.location:
            return named
    return there  # a teammate's, who has another name for it


def find_tag(here: Context, repo: str, name: str, places: Iterable[Context] | None = None) -> tuple[Context, TagRecord]:
    """The tag of exactly that name, and where it was found; as `find_run` does."""
    among = here.everywhere() if places is None else places
    return _find(
        among, name, lambda there: read_tag(there.store, repo, name), lambda there: tag_names(there.store, repo)
    )


def everywhere(here: Context, problem: Callable[[DstackError], None]) -> Iterator[Context]:
    """This machine and each remote with another store, if it can be opened; about the others `problem` is told.

    Raises:
        DstackError: this machine's own store cannot be opened.
    """
    seen: set[str] = set()
    for there in here.everywhere():
        try:
            location = there.store.location
        except DstackError as error:
            if there.is_home:
                raise
            problem(error)
        else:
            if location not in seen:
                yield there
            seen.add(location)


def _find(
    places: Iterable[Context], name: str, read: Callable[[Context], T], names: Callable[[Context], Iterable[str]]
) -> tuple[Context, T]:
    missing: list[tuple[Context, NotFoundError]] = []
    for there in places:
        try:
            return there, read(there)
        except NotFoundError as error:
            missing.append((there, error))
    known = itertools.chain.from_iterable(names(there) for there, _ in missing)
    nowhere = suggest(missing[0][1], name, known)
    if missing[0][0].is_home and missing[0][0].offline:
        nowhere.hint = "no remote was asked: dstack config set offline false, or leave DSTACK_OFFLINE out"
    raise nowhere from None


def _run_names(there: Context) -> Iterable[str]:
    return run_names(there.store, there.repo, RECENT)


def suggest(error: NotFoundError, name: str, known: Iterable[str]) -> NotFoundError:
    """The error with the known names that come close to `name`."""
    import difflib

    close = difflib.get_close_matches(name, islice(known, 1000), 3)
    if not close:
        return error
    return NotFoundError(f"{error.message}; did you mean {' or '.join(close)}?", hint=error.hint)


def check_job(run: str, job: str | None, known: Iterable[str]) -> None:
    """Whether a run has the job that is meant, if one is.

    Raises:
        NotFoundError: it has none of that name.
    """
    names = list(known)
    if job is not None and job not in names:
        raise suggest(NotFoundError(f"{run} has no job {job}", hint=f"dstack ps {run}"), job, names)


def warn(message: str) -> None:
    """Tell on stderr what is wrong with one thing while the command goes on with the others."""
    click.echo(f"warning: {one_line(message)}", err=True)


def warn_of(error: DstackError) -> None:
    """`warn` of an error, with its hint."""
    warn(f"{error} ({error.hint})" if error.hint else str(error))


def unasked(there: Context, error: DstackError) -> DstackError:
    """What to tell when a remote cannot be asked and the command goes on without it."""
    return DstackError(f"the remote {there.remote.name} could not be asked: {error}", hint=error.hint)


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
            from dstack_core._plan.stored import read_run_plan

            here, run = find_run(here, str(ctx.params["run"]))
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
            for here in everywhere(context(), lambda _: None):
                if runs:
                    names += _run_names(here)
                if tags is not None:
                    names += (tags + name for name in tag_names(here.store, here.repo))
    except Exception:  # completion must never disturb the shell
        return []
    return [name for name in names if name.startswith(incomplete)]
