"""`dstack ps`: the repository's runs, or the jobs of one."""

from __future__ import annotations

import sys
from collections.abc import Collection

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import complete_run, find_run
from dstack_core._cli.runs import Listing, RunsListing, Selection


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("-a", "--all", "everything", is_flag=True, help="Show all finished runs, too.")
@click.option("-n", "--last", type=click.IntRange(min=0), metavar="N", help="Show the last N finished runs, too.")
@click.option("--all-repos", is_flag=True, help="Show the runs of all repositories.")
@click.option("--offline", is_flag=True, help="Ask no remote: show the runs of this machine.")
@click.option("-w", "--watch", is_flag=True, help="Show how it goes on, until Ctrl+C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch one object a line.")
def ps(  # an option each
    run: str | None, everything: bool, last: int | None, all_repos: bool, offline: bool, watch: bool, as_json: bool
) -> None:
    """Show the active runs, or the last finished one if none is active; with RUN, its jobs.

    Runs that were left behind (their machine was lost, the command that watched them was killed) are brought
    forward on the way. Remotes that do not answer within a few seconds are named, and left out.
    """
    here = context()
    if offline:
        here.go_offline()
    selection = Selection(everything, last, all_repos or _outside(here))
    if run is None:
        shown: Listing = RunsListing(here, selection)
    elif everything or last is not None or all_repos:
        raise click.UsageError("RUN goes with --watch and --json only.")
    else:
        from dstack_core._cli.jobs import JobsListing

        there, record = find_run(here, run)
        shown = JobsListing(there, record.name)
    if not watch:
        shown.print(as_json=as_json)
        _sweep(here, shown.silent if isinstance(shown, RunsListing) else ())
    elif sys.stdout.isatty() and not as_json:
        from dstack_core._cli.board import Board
        from dstack_core._cli.watch import watch_on_screen

        watch_on_screen(Board(here, selection, run))
    else:
        from dstack_core._cli.watch import watch as go_on

        go_on(shown, as_json=as_json)


def _sweep(here: Context, silent: Collection[str]) -> None:
    """Where machines cost money, and somebody answers."""
    for there in here.everywhere():
        if there.remote.backend != here.remote.backend and there.remote.name not in silent:
            from dstack_core._cli.sweeping import sweep_in_passing

            sweep_in_passing(there)


def _outside(here: Context) -> bool:
    """Whether no project is around the current folder: then there is no repository whose runs could be meant."""
    return not any((here.project / mark).exists() for mark in (".dstack", ".git"))
