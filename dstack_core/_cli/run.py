"""`dstack run`: plan, record, start, follow."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from dstack_core._cli.context import Context
from dstack_core._cli.interrupts import deferred
from dstack_core._cli.target import Target, TargetCommand, planning_options
from dstack_core._plan.job import REUSE
from dstack_core.errors import DstackError, InputError

if TYPE_CHECKING:
    from dstack_core._cli.follow import Presenter
    from dstack_core._cli.planning import Planned
    from dstack_core._engine.view import RunView
    from dstack_core._ledger.records import RunRecord
    from dstack_core.models import Artifact


def _run(context: Context, target: Target) -> int:
    from dstack_core._cli.plan import print_short
    from dstack_core._cli.planning import plan_for
    from dstack_core._ledger.marks import saving

    as_json = bool(target.options.get("json"))
    with contextlib.ExitStack() as mark:
        mark.enter_context(saving(context.store, f"dstack run {target.name}"))
        planned = plan_for(context, target)
        _check_tag(target, planned)
        _check_images(planned)
        _fetch(context, planned)
        draft = _store(context, target, planned)
        with deferred() as interrupted:  # no run must begin to exist unseen
            view = _record(context, draft)
            mark.close()
    if not as_json:
        print_short(view.run.name, planned)
        _tell_of_tag(context, view.run)
    try:
        if not interrupted:
            _prepare_keys(context, view)
            _advance(context, view)
    except KeyboardInterrupt:
        interrupted.append(True)
    if target.options.get("detach") and not interrupted:
        if as_json:
            _print_json(context, view.run)
        elif not view.finished:
            print(f"Follow it: dstack logs -a {view.run.name}", file=sys.stderr)
            if any(job.spec.ports for job in view.plan.jobs):
                print(f"Open it: dstack open {view.run.name}", file=sys.stderr)
        return 0
    try:
        code = _attach(context, view, quiet=as_json, interrupted=bool(interrupted))
    except KeyboardInterrupt:  # before it was followed, or while the first one was dealt with
        code = _attach(context, view, quiet=as_json, interrupted=True)
    if as_json:
        _print_json(context, view.run)
    return code


def _check_tag(target: Target, planned: Planned) -> None:
    """What can be known now to be impossible is told now, not when the run is done. Raises InputError."""
    tag = target.options.get("tag")
    if tag is None:
        return
    from dstack_core._engine.tagging import check_tag
    from dstack_core._plan.apart import check_apart

    check_tag(tag)
    if not any(job.spec.artifacts for job in planned.plan.targets):
        raise InputError(f"{target.name} has no artifacts that the tag {tag} could name", hint="declare `artifacts:`")
    saved = {job.name: [artifact.path for artifact in job.spec.artifacts] for job in planned.plan.targets}
    check_apart(saved, "where the tag is used", where=planned.plan.targets[0].where)


def _tell_of_tag(context: Context, run: RunRecord) -> None:
    """A tag that is there already: what it names now will have no name, unless it has another one."""
    if run.tag is None:
        return
    from dstack_core._ledger.tags import read_tag

    with contextlib.suppress(DstackError):
        there = read_tag(context.store, run.repo, run.tag)
        print(f"  the tag {run.tag} moves here from {there.run or 'uploaded folders'} when it is done", file=sys.stderr)


def _check_images(planned: Planned) -> None:
    """What cannot be had now is told before anything is recorded. Raises InputError."""
    for name, error in planned.unknown.items():
        where = planned.plan.job(name).where
        raise InputError(f"`{name}` cannot run here: {error.message}", hint=error.hint, where=where)


def _fetch(context: Context, planned: Planned) -> None:
    """Bring what the run needs of other remotes into its own store. Raises StoreError, NotFoundError."""
    plan, needed = planned.plan, planned.plan.needed
    taken: dict[str, set[str]] = {}
    tagged: dict[str, list[Artifact]] = {}
    for job in plan.jobs:
        if job.reused and job.reused.remote and job.name in needed:
            taken.setdefault(job.reused.remote, set()).add(job.name)
        if job.decision != REUSE:
            for source in job.sources:
                if source.remote:
                    tagged.setdefault(source.remote, []).extend(source.artifacts)
    for remote in sorted({*taken, *tagged}):
        from dstack_core._cli.bar import transfer_bar
        from dstack_core._engine.sharing import send_artifacts, send_results

        there = context.at(remote).store
        with transfer_bar(f"Fetching from {remote}") as progress:
            send_artifacts(there, context.store, tagged.get(remote, ()), progress)
            send_results(there, context.store, plan, sorted(taken.get(remote, ())), progress)


def _store(context: Context, target: Target, planned: Planned) -> RunRecord:
    """Store the code, then the plan; the run that remains to be recorded."""
    from dstack_core._cli.bar import transfer_bar
    from dstack_core._content.snapshot import store_snapshot
    from dstack_core._ledger.records import RunRecord
    from dstack_core._ledger.runs import write_plan
    from dstack_core.codec import dumps

    snapshot = planned.snapshot
    with transfer_bar("Storing the code") as progress:
        store_snapshot(context.store, context.project, snapshot, progress)
    return RunRecord(
        name="",
        repo=planned.plan.repo,
        user=context.user,
        workflow=target.name,
        plan=write_plan(context.store, dumps(planned.plan)),
        submitted=time.time(),
        remote=context.remote.name,
        tag=target.options.get("tag"),
        budget=target.options.get("budget"),
        branch=snapshot.branch,
        commit=snapshot.commit,
        changes=snapshot.summary or None,
    )


def _record(context: Context, draft: RunRecord) -> RunView:
    """From now on the run exists."""
    from dstack_core._engine.view import RunView
    from dstack_core._ledger.runs import create_run

    return RunView(context.store, create_run(context.store, draft).value.name)


def _prepare_keys(context: Context, view: RunView) -> None:
    """Before there is a machine."""
    if any(job.spec.ports or job.spec.edits for job in view.plan.jobs):
        from dstack_core._cli.sshkeys import prepare_keys

        prepare_keys(context, view)


def _advance(context: Context, view: RunView) -> None:
    """Start it. A run that cannot be started now is recorded, and said so."""
    from dstack_core._engine.advance import advance

    try:
        with _asking(context):
            advance(context.engine, view)
    except DstackError as error:
        error.hint = error.hint or f"the run {view.run.name} is recorded; `dstack ps` tries again to start it"
        raise


def _asking(context: Context) -> contextlib.AbstractContextManager[None]:
    """A machine elsewhere is asked for: what it starts from may have to be packed and sent first."""
    if not context.backend.distant:
        return contextlib.nullcontext()
    from dstack_core._cli.bar import spinner

    return spinner("Asking for a machine")


def _attach(context: Context, view: RunView, *, quiet: bool, interrupted: bool) -> int:
    from dstack_core._cli.follow import follow

    return follow(context, view, presenter_for(view, quiet=quiet), interrupted=interrupted)


def presenter_for(view: RunView, *, quiet: bool = False) -> Presenter:
    """Who shows the run here: on a terminal, elsewhere, or not at all (`quiet`)."""
    jobs = [job.name for job in view.plan.jobs if job.decision != "reuse"]
    if sys.stdout.isatty() and not quiet:
        from dstack_core._cli.live import LivePresenter

        return LivePresenter(jobs)
    from dstack_core._cli.show import PlainPresenter, QuietPresenter

    return QuietPresenter() if quiet else PlainPresenter(jobs)


def _print_json(context: Context, run: RunRecord) -> None:
    """The run and its jobs, as `dstack ps RUN --json` tells them."""
    from dstack_core._cli.jobs import JobsListing

    JobsListing(context, run.name).print(as_json=True)


run = TargetCommand(
    "run",
    act=_run,
    options=[
        click.Option(["detach", "-d", "--detach"], is_flag=True, help="Do not wait for the run to end."),
        click.Option(["tag", "-t", "--tag"], metavar="TAG", help="Name the result, when it is there."),
        click.Option(
            ["budget", "--budget"],
            metavar="USD",
            type=click.FloatRange(min=0, min_open=True),
            help="Stop it, saving what there is, when its machines have cost that much.",
        ),
        *planning_options(),
        click.Option(["json", "--json"], is_flag=True, help="Print the run and its jobs as JSON instead of its logs."),
    ],
    help="Run a workflow and what it needs.",
)
