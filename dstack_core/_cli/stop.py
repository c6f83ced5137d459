"""`dstack stop`: end runs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import Warnings, complete_run, confirm, find_run, place_of, warn_of
from dstack_core._cli.remotes import remote_option
from dstack_core._ledger.records import FINISHED, RunRecord
from dstack_core._ledger.runs import active_runs, ask_to_end
from dstack_core.errors import DstackError

SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between looks at a run that is ending."""


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("-a", "--all", "everything", is_flag=True, help="All active runs of the repository.")
@remote_option("With --all: those of this remote.")
@click.option("-x", "--abort", is_flag=True, help="At once: jobs get no time to end, artifacts are not saved.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, help="Return when the runs have ended (the default), or at once.")
def stop(runs: tuple[str, ...], everything: bool, remote: str | None, abort: bool, yes: bool, wait: bool) -> None:
    """End runs: their jobs get SIGTERM and 10 seconds, then what they have of artifacts is saved.

    Names are exact. A run that is finished already is said so, and is no error.
    """
    if bool(runs) == everything:
        raise click.UsageError("Name the runs to stop, or use --all for all active ones.")
    here = context()
    if everything:
        here = here.at(remote)
        going = [(place_of(here, run.value), run.value) for run in active_runs(here.store, here.repo, warn_of)]
    else:
        found = [find_run(here, name) for name in dict.fromkeys(runs)]
        going = [(there, run) for there, run in found if run.status not in FINISHED]
        for _, run in found:
            if run.status in FINISHED:
                click.echo(f"{run.name} is finished already: {run.status}")
    if not going:
        if everything:
            click.echo("No run is active.")
        return
    confirm(f"{'Abort' if abort else 'Stop'} {', '.join(run.name for _, run in going)}?", yes=yes)
    _end(going, "abort" if abort else "stop", wait=wait)


def _end(runs: list[tuple[Context, RunRecord]], desired: str, *, wait: bool) -> None:
    """Ask all before waiting for any. One that cannot be ended does not keep the others from it."""
    errors: list[DstackError] = []
    asked: list[tuple[Context, str]] = []
    for there, run in runs:
        with _collect(errors):
            ask_to_end(there.store, run.name, desired)
            asked.append((there, run.name))
    try:
        for there, name in asked:
            with _collect(errors):
                _wait(there, name, wait=wait)
    except KeyboardInterrupt:
        click.echo("\nTold to end, and not waited for: dstack ps", err=True)
        raise
    for error in errors[:-1]:
        warn_of(error)
    if errors:
        raise errors[-1]


@contextlib.contextmanager
def _collect(errors: list[DstackError]) -> Iterator[None]:
    try:
        yield
    except DstackError as error:
        errors.append(error)


def _wait(here: Context, run: str, *, wait: bool) -> None:
    """Bring the run forward until it is finished: its runner may be dead, and then it is up to us."""
    from dstack_core._engine.advance import advance

    shown = ""
    started = time.monotonic()
    pause = SHORTEST_PAUSE
    problem = Warnings()
    view = here.advance(run)
    while True:
        for damage in view.damaged.values():
            problem(damage)
        if view.finished:
            _line(f"{run}: {view.run.status}", last=True)
            return
        left = sum(status not in FINISHED for status in view.progress.status.values())
        status = f"{run}: {view.status()}, {words.plural(left, 'job')} to end"
        if not wait:
            _line(status, last=True)
            return
        # Elsewhere than on a terminal only what is new is worth a line.
        if sys.stdout.isatty():
            _line(f"{status} ({words.duration(time.monotonic() - started)})")
        elif status != shown:
            _line(status, last=True)
        shown = status
        time.sleep(pause)
        advance(here.engine, view)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _line(text: str, *, last: bool = False) -> None:
    """On a terminal a line that replaces the one before, until the last."""
    if sys.stdout.isatty():
        click.echo(f"\r\x1b[K{text}", nl=last)
    else:
        click.echo(text)
