"""`dstack ssh`: a shell, or a command, inside a running job, wherever it runs."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import check_job, complete_job, complete_run, find_run
from dstack_core._engine.executors import label
from dstack_core.errors import InputError, ReachError

if TYPE_CHECKING:
    from dstack_core._cli.way import Way
    from dstack_core._engine.view import RunView
    from dstack_core._ledger.entrances import Entrance
    from dstack_core._ledger.records import JobRecord
    from dstack_core.backend import Address

LOOK: Final = 1.0
"""Seconds between tries to be let in."""
PATIENCE: Final = 60.0
"""Seconds for a machine to see a new key; longer than that it has none to look for."""
COMMAND: Final = "dstack.ssh.command"


class _WithCommand(click.Command):
    """What stands behind `--` is a command of its own, and never a job."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command("ssh", cls=_WithCommand, options_metavar="[OPTIONS]", epilog="What stands behind -- is the command.")
@click.argument("run", shell_complete=complete_run)
@click.argument("job", required=False, metavar="[JOB] [-- COMMAND...]", shell_complete=complete_job)
@click.pass_context
def ssh(ctx: click.Context, run: str, job: str | None) -> None:
    """Get into a running job of RUN: a shell in its environment and working folder, or a COMMAND there.

    It works for jobs on this machine, too. The exit code is that of the shell or the command.
    """
    command = ctx.meta.get(COMMAND, [])
    here, record = find_run(context(), run)
    view = here.advance(record.name)
    found = _running(view, job)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    attempt = label(str(found.machine), found.job, len(found.attempts))
    executor = view.plan.job(found.job).spec.executor
    if not here.backend.distant:
        from dstack_core._runner.enter import become

        sys.stdout.flush()
        become(here.executors.get(executor), executor or here.remote.executor, attempt, command, terminal=terminal)
    how = [executor or "", attempt, "terminal" if terminal else "-", *command]
    ctx.exit(_elsewhere(here, found, how, terminal=terminal))


def _running(view: RunView, job: str | None) -> JobRecord:
    """The job that is meant: the one of that name, else the only one that runs. Raises NotFoundError, InputError."""
    run = view.run.name
    check_job(run, job, (planned.name for planned in view.plan.jobs))
    running = [document.value for document in view.jobs.values() if document.value.status == "running"]
    found = [record for record in running if job in (None, record.job)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{len(found)} jobs of {run} run: {', '.join(sorted(r.job for r in found))}", hint="name one")
    status = view.progress.status.get(job, "submitted") if job else view.status()
    what = f"{job} of {run} is not running: it is {status}" if job else f"no job of {run} is running: it is {status}"
    raise InputError(what, hint=f"dstack ps {run}")


def _elsewhere(here: Context, job: JobRecord, how: list[str], *, terminal: bool) -> int:
    from dstack_core._cli.bar import spinner
    from dstack_core._cli.way import FAILED, Way, remote_command

    way = Way(here, job.run, str(job.machine))
    with spinner(f"Waiting for the machine of {job.job}"):
        entrance = _entrance(way, job.job)
    with way.opened(entrance) as address:
        with spinner(f"Getting to {job.job}"):
            _get_in(way, entrance, address)
        words = [entrance.python, "-m", "dstack_core._runner.enter", entrance.remote, *how]
        command = [*way.command(entrance, address, "-t" if terminal else "-T"), remote_command(entrance, words)]
        code = subprocess.run(command, cwd=way.folder, check=False).returncode
    if code == FAILED:
        raise ReachError(f"the way to {job.job} broke", hint=f"dstack ssh {job.run} {job.job}")
    return code


def _entrance(way: Way, job: str) -> Entrance:
    _ = way.folder  # from now on the machine takes our key
    deadline = time.monotonic() + PATIENCE
    while not (entrance := way.entrance()):
        if time.monotonic() > deadline:
            raise ReachError(f"the machine of {job} lets nobody in", hint="its log says why")
        time.sleep(LOOK)
    return entrance


def _get_in(way: Way, entrance: Entrance, address: Address) -> None:
    """Until the machine has seen our key."""
    from dstack_core._cli.way import RefusedError

    deadline = time.monotonic() + PATIENCE / 3
    while True:
        try:
            return way.check(entrance, address)
        except (RefusedError, ReachError):
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK)
