"""`dstack rm`: forget finished runs."""

from __future__ import annotations

import contextlib

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import complete_run, confirm, everywhere, find_run, warn_of
from dstack_core._cli.remotes import remote_option
from dstack_core._cli.runs import look
from dstack_core._ledger.records import FINISHED
from dstack_core._ledger.runs import active_runs, finished_runs, is_removed, remove_run
from dstack_core.errors import ConflictError, NotFoundError


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("-a", "--all", "everything", is_flag=True, help="All finished runs of the repository.")
@remote_option("Those of this remote; a copy on this machine stays.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rm(runs: tuple[str, ...], everything: bool, remote: str | None, yes: bool) -> None:
    """Remove finished runs: what `ps` and `logs` know of them. Tags keep their artifacts.

    Names are exact. The name of a removed run is never given to another one.
    """
    if bool(runs) == everything:
        raise click.UsageError("Name the runs to remove, or use --all for all finished ones.")
    here = context().at(remote)
    if everything:
        list(active_runs(here.store, here.repo, warn_of))  # files what finished without being listed so
        found = {run.name: here for run in finished_runs(here.store, here.repo, warn_of)}
    else:
        places = list(everywhere(here, warn_of)) if remote is None else [here]
        found = {name: _finished(here, name, places) for name in dict.fromkeys(runs)}
    if not found:
        click.echo("No run is finished.")
        return
    from dstack_core._cli.sshkeys import forget_key

    confirm(f"Remove {', '.join(found) if len(found) <= 10 else f'{len(found):,} runs'}?", yes=yes)
    for name, there in found.items():
        try:
            remove_run(there.store, name)
            forget_key(name)
        except NotFoundError as error:  # only a listing speaks of it
            warn_of(error)
            continue
        click.echo(f"{name}: removed")


def _finished(here: Context, name: str, places: list[Context]) -> Context:
    """Where it is, if it may be removed. Raises ConflictError for an active run, NotFoundError."""
    for there in places:
        with contextlib.suppress(NotFoundError):
            find_run(here, name, [there])
            break
        if is_removed(there.store, name):
            return there  # whoever removed it may have been killed on the way: then this goes on with it
    there, run = find_run(here, name, places)
    if run.status not in FINISHED:
        run, _ = look(there, run, warn_of)
    if run.status not in FINISHED:
        raise ConflictError(f"{name} is active", hint=f"dstack stop {name}")
    return there
