"""`dstack code pull`: what was edited in a job, back into the working tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dstack_core._cli import words
from dstack_core._cli.context import context
from dstack_core._cli.lookup import check_job, complete_job, complete_run, confirm, find_run
from dstack_core._cli.render import write_diff, write_json
from dstack_core.errors import ConflictError, InputError

if TYPE_CHECKING:
    from dstack_core._engine.view import RunView


@click.command()
@click.argument("run", shell_complete=complete_run)
@click.argument("job", required=False, shell_complete=complete_job)
@click.option("--show", "only_show", is_flag=True, help="Only show what would change.")
@click.option("--theirs", is_flag=True, help="Where both changed a file, take the job's.")
@click.option("--stat", is_flag=True, help="Show only which files change, and by how many lines.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the changed paths as JSON, and change nothing.")
def pull(run: str, job: str | None, *, only_show: bool, theirs: bool, stat: bool, yes: bool, as_json: bool) -> None:
    """Show what was edited in a job of RUN, and bring it back into the working tree.

    Edits of dev environments are saved every few seconds, also while they run. What was brought
    back before is replaced by what came after it. A file that you changed here, too, stops it, and nothing is changed.
    """
    from dstack_core._content.bringing import bring, compare
    from dstack_core._content.brought import Brought
    from dstack_core._content.difference import local_side, stored_side
    from dstack_core._content.restoring import load_known
    from dstack_core._content.snapshot import scan_snapshot

    here = context()
    there, record = find_run(here, run)
    if record.repo != here.repo:
        raise InputError(f"{record.name} is a run of {record.repo}, and this is {here.repo}", hint="go to its folder")
    view = there.advance(record.name)
    name = _edited(view, job)
    digest = view.jobs[name].value.edits if name in view.jobs else None
    before = Brought(record.name, name, here.project)
    mine, base = scan_snapshot(here.project).tree, load_known(there.store, view.plan.snapshot)
    edited = load_known(there.store, digest) if digest else base
    found = compare(here.project, base, edited, mine, theirs=theirs, brought=before.read())
    if as_json:
        rows = [{"path": change.path, "change": change.how} for change in found.wanted]
        write_json({"changes": rows, "conflicts": found.conflicts})
    elif not (found.wanted or found.conflicts):
        click.echo("Everything that was edited there is here." if digest else "Nothing was edited there.", err=True)
    else:
        write_diff(local_side(here.project, mine), stored_side(there.store, edited), found.wanted, stat=stat)
        if found.conflicts:
            raise _conflict(found.conflicts)
        if not only_show:
            confirm(f"Change {words.plural(len(found.wanted), 'file')} here?", yes=yes)
            bring(there.store, here.project, found.wanted)
            before.add(found.wanted)
            click.echo(f"{words.plural(len(found.wanted), 'file')} changed", err=True)


def _edited(view: RunView, job: str | None) -> str:
    """The job that people edit, or that is meant. Raises InputError, NotFoundError."""
    run = view.run.name
    check_job(run, job, (planned.name for planned in view.plan.jobs))
    edited = [planned.name for planned in view.plan.jobs if planned.spec.edits and job in (None, planned.name)]
    if not edited:
        what = f"{job} of {run} is" if job else f"no job of {run} is"
        raise InputError(f"{what} {'no' if job else 'a'} dev environment", hint="`dstack cp` copies artifacts")
    if len(edited) > 1:
        raise InputError(f"{len(edited)} jobs of {run} can be edited: {', '.join(edited)}", hint="name one")
    return edited[0]


def _conflict(paths: list[str]) -> ConflictError:
    shown = ", ".join(paths[:10]) + (f" and {len(paths) - 10} more" if len(paths) > 10 else "")
    hint = "commit or undo the changes here; or --theirs, which gives them up"
    return ConflictError(f"changed here and there: {shown}", hint=hint)
