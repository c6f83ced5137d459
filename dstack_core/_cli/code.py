"""`dstack code`: the code that a run was started with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dstack_core._cli import words
from dstack_core._cli.code_pull import pull
from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import complete_run, find_run, warn
from dstack_core._cli.render import write_diff, write_json
from dstack_core._plan.stored import read_run_plan

if TYPE_CHECKING:
    from dstack_core._content.difference import Change, Side
    from dstack_core._ledger.records import RunRecord


@click.group()
def code() -> None:
    """See and restore the code of a run: all files as they were, committed or not."""


@code.command()
@click.argument("run", shell_complete=complete_run)
@click.argument("other", metavar="[RUN2]", required=False, shell_complete=complete_run)
@click.option("--stat", is_flag=True, help="Only which files changed, and by how many lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the changed paths as JSON.")
def diff(run: str, other: str | None, stat: bool, as_json: bool) -> None:
    """Show how the code has changed since RUN; with RUN2, from one run's to the other's.

    It is what `git diff` shows, so `git apply -R` takes the code back to where it was.
    """
    here = context()
    there, record = find_run(here, run)
    old, new = _of_run(there, record), _of_project(here, record) if other is None else _of_name(here, other)
    from dstack_core._content import difference

    found = difference.changes(old.tree, new.tree)
    if as_json:
        write_json([_row(change) for change in found])
    elif not found:
        click.echo(f"The code is that of {run}." if other is None else "Both runs have the same code.", err=True)
    else:
        write_diff(old, new, found, stat=stat)


@code.command()
@click.argument("run", shell_complete=complete_run)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def checkout(run: str, folder: Path) -> None:
    """Restore the code of RUN to DIR, a new or empty folder: every file, verified, or nothing."""
    from dstack_core._cli.bar import transfer_bar
    from dstack_core._content.checkout import check_out
    from dstack_core._content.tree import load_tree

    here = context()
    here, record = find_run(here, run)
    snapshot = read_run_plan(here.store, record).snapshot
    tree = load_tree(here.store, snapshot)
    with transfer_bar(f"Restoring the code of {run}") as progress:
        check_out(here.store, snapshot, folder, progress)
    click.echo(f"{folder}: the code of {run}, {words.plural(tree.files, 'file')} ({words.size(tree.size)})")


code.add_command(pull)


def _of_name(here: Context, run: str) -> Side:
    return _of_run(*find_run(here, run))


def _of_run(here: Context, run: RunRecord) -> Side:
    from dstack_core._content.difference import stored_side
    from dstack_core._content.tree import load_tree

    return stored_side(here.store, load_tree(here.store, read_run_plan(here.store, run).snapshot))


def _of_project(here: Context, run: RunRecord) -> Side:
    from dstack_core._content.difference import local_side
    from dstack_core._content.snapshot import scan_snapshot

    if run.repo != here.repo:
        warn(f"{run.name} is a run of {run.repo}; it is compared with the code here, {here.repo}")
    return local_side(here.project, scan_snapshot(here.project).tree)


def _row(change: Change) -> dict[str, object]:
    old, new = change.old, change.new
    return {
        "path": change.path,
        "change": change.how,
        "old_size": old.size if old else None,
        "new_size": new.size if new else None,
        "old_mode": f"{old.mode:o}" if old else None,
        "new_mode": f"{new.mode:o}" if new else None,
    }
