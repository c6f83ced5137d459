"""`dstack open`: the addresses at which a running job serves something."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.doors import Address, Doors
from dstack_core._cli.lookup import check_job, complete_job, complete_run, find_run
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import FINISHED
from dstack_core.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dstack_core._ledger.records import JobRecord

LOOK: Final = 0.1
"""Seconds between looks."""
HOLD: Final = 3.0
"""The same at the job, while the way is open."""
SAID: Final = 15
"""Lines of a log that are told with a failure."""


@click.command("open")
@click.argument("run", shell_complete=complete_run)
@click.argument("job", required=False, shell_complete=complete_job)
@click.option("--no-wait", is_flag=True, help="Do not wait until it answers.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def open_(run: str, job: str | None, no_wait: bool, no_browser: bool) -> None:
    """Print the addresses of what a job of RUN serves, as soon as it answers; open the first in a browser, if any.

    A job has ports if its workflow asks for them with `ports`, and listens on PORT_0, PORT_1, and so on.
    """
    here, record = find_run(context(), run)
    doors = Doors(here)
    try:
        view, found = _served(here, record.name, job, wait=not no_wait)
        addresses = _reached(here, doors, view, found)
        if not no_wait:
            _await(here, found, addresses)
        for address in addresses:
            click.echo(f"{address.name}: {address.opened}" if address.name else address.opened)
        if not no_browser and _has_desktop():
            import webbrowser

            webbrowser.open(addresses[0].opened)
        if doors.held:
            _hold(here, doors, found)
    finally:
        doors.close()


def _served(here: Context, run: str, job: str | None, *, wait: bool) -> tuple[RunView, JobRecord]:
    """The job, when it runs and has its ports. Raises NotFoundError, InputError."""
    told = False
    while True:
        view = here.advance(run)
        name = _job_with_ports(view, job)
        record = view.jobs[name].value if name in view.jobs else None
        if record and record.status == "running" and record.ports:
            return view, record
        status = record.status if record else view.progress.status.get(name, "submitted")
        if view.finished or status in FINISHED or status in ("reused", "skipped") or not wait:
            raise InputError(f"{name} of {run} is not running: it is {status}", hint=f"dstack ps {run}")
        if not told:
            print(f"waiting for {name}, which is {status}", file=sys.stderr, flush=True)
        told = True
        time.sleep(LOOK)


def _job_with_ports(view: RunView, job: str | None) -> str:
    """The job that is meant: the one of that name, else the only one with ports, else the only running one of them."""
    run = view.run.name
    check_job(run, job, (planned.name for planned in view.plan.jobs))
    served = [planned.name for planned in view.plan.jobs if planned.spec.ports]
    if job is not None and job not in served:
        raise InputError(f"{job} of {run} has no ports", hint="ask for them in its workflow: `ports: 1`")
    if job is None and not served:
        raise InputError(f"no job of {run} has ports", hint="ask for them in a workflow: `ports: 1`")
    running = [name for name in served if name in view.jobs and view.jobs[name].value.ports]
    candidates = [job] if job else running or served
    if len(candidates) > 1:
        raise InputError(f"{len(candidates)} jobs of {run} have ports: {', '.join(candidates)}", hint="name one")
    return candidates[0]


def _reached(here: Context, doors: Doors, view: RunView, job: JobRecord) -> Sequence[Address]:
    """Its addresses, when there is a way to them. Raises InputError when it ends first, and as `Doors.addresses`."""
    from dstack_core._cli.bar import spinner

    spec = view.plan.job(job.job).spec
    with spinner(f"Getting to {job.job}"):
        while not (addresses := doors.addresses(job, spec)):
            _check_same(here, job, "ended before it could be reached")
            time.sleep(LOOK)
    _tell_news(doors)
    return addresses


def _ended(here: Context, job: JobRecord) -> JobRecord | None:
    """The job as it is now, unless it is still the attempt that it was."""
    now = here.advance(job.run).jobs[job.job].value
    return None if now.status == "running" and now.ports == job.ports else now


def _check_same(here: Context, job: JobRecord, what: str) -> None:
    """Raises InputError when it is not the attempt that it was."""
    if now := _ended(here, job):
        message = f"{job.job} of {job.run} {what}: it is {now.status}{_last_words(here, now)}"
        raise InputError(message, hint=f"dstack logs {job.run} {job.job}")


def _tell_news(doors: Doors) -> None:
    for message in doors.news():
        print(message, file=sys.stderr, flush=True)


def _await(here: Context, job: JobRecord, addresses: Sequence[Address]) -> None:
    """Until every port answers. Raises InputError when the job ends first."""
    from dstack_core._cli.bar import spinner

    if all(address.answers() for address in addresses):
        return
    if not sys.stderr.isatty():
        print(f"waiting for {job.job} to answer", file=sys.stderr, flush=True)
    with spinner(f"Waiting for {job.job} to answer"):
        while not all(address.answers() for address in addresses):
            _check_same(here, job, "ended before it answered")
            time.sleep(LOOK)


def _last_words(here: Context, job: JobRecord) -> str:
    """The end of its log, indented, if it said anything."""
    from dstack_core._cli.logtext import clean
    from dstack_core._content.logs import LogReader
    from dstack_core._ledger.runs import log_prefix

    reader = LogReader(here.store, log_prefix(job.run, job.job, len(job.attempts)))
    written = b"".join(entry.data for entry in reader.read(None).entries if entry.stream in ("o", "e"))
    lines = clean(written).decode(errors="replace").splitlines()[-SAID:]
    return "".join(f"\n  {line}" for line in ["; the last that it said:", *lines]) if lines else ""


def _hold(here: Context, doors: Doors, job: JobRecord) -> None:
    """Keep the way open as long as there is something at its end. Ctrl+C ends that alone."""
    print("Open as long as this command runs: Ctrl+C closes the way, not the job.", file=sys.stderr, flush=True)
    looked = time.monotonic()
    try:
        while True:
            _tell_news(doors)
            if time.monotonic() - looked > HOLD:
                with contextlib.suppress(StoreError):  # no network: the way is cut off, too, which is told
                    if now := _ended(here, job):
                        print(f"{job.job} is {now.status}", file=sys.stderr, flush=True)
                        return
                looked = time.monotonic()
            time.sleep(LOOK)
    except KeyboardInterrupt:
        print(file=sys.stderr)


def _has_desktop() -> bool:
    """Whether a browser would be seen. BROWSER is the user's own word for it."""
    return sys.platform == "darwin" or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
