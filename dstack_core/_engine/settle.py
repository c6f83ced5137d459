"""What can be decided about a run's jobs without a machine: to skip, to reuse, to end unstarted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import cost_so_far
from dstack_core._ledger.records import WAITING, JobRecord
from dstack_core._ledger.runs import finish_run, write_job
from dstack_core.errors import ConflictError, NotFoundError
from dstack_core.models import JobEvent, RunEvent

Tell = Callable[["JobEvent | RunEvent"], None]


def settle(view: RunView, tell: Tell) -> None:
    """Record every decision that follows from the statuses now, until nothing more does. Idempotent.

    Loses races gladly: whoever was first has decided the same, or claimed the job.
    """
    with contextlib.ExitStack() as marks:
        _settle_jobs(view, tell, marks)
    if view.progress.finished and not view.finished:
        _finish(view, tell)


def _settle_jobs(view: RunView, tell: Tell, marks: contextlib.ExitStack) -> None:
    moved = True
    while moved and not view.finished:
        moved = False
        if view.run.desired:
            status = "aborted" if view.run.desired == "abort" else "stopped"
            for name in list(view.progress.waiting):
                moved |= end_unstarted(view, tell, name, status, view.run.reason or "the run was told to end")
        for name, cause in list(view.progress.doomed.items()):
            moved |= end_unstarted(view, tell, name, "skipped", f"{cause} did not succeed")
        for name in [n for n in view.undecided if n in view.progress.ready]:
            moved |= _reuse(view, tell, name, marks)


def end_unstarted(view: RunView, tell: Tell, name: str, status: str, reason: str) -> bool:
    """Record the last status of a job that nobody works on; whether this call did it."""
    if view.progress.status[name] not in WAITING:
        return False  # a refresh on the way here brought the news that somebody claimed or ended it
    document = view.jobs.get(name)
    job = document.value if document else JobRecord(view.run.name, name, status)
    return _record(view, tell, replace(job, status=status, reason=reason))


def _record(view: RunView, tell: Tell, job: JobRecord) -> bool:
    try:
        view.note(write_job(view.store, view.jobs.get(job.job), job))
    except ConflictError:
        view.refresh()
        return False
    tell(JobEvent(job.run, job.job, job.status, len(job.attempts), time.time()))
    return True


def _reuse(view: RunView, tell: Tell, name: str, marks: contextlib.ExitStack) -> bool:
    """A job whose deps ran in this run: perhaps they gave what they gave before, and it need not run."""
    job = view.plan.job(name)
    view.undecided.remove(name)
    if name in view.jobs:
        return False  # somebody decided before: it was tried already
    from dstack_core._plan.reuse import decide

    verdict = decide(view.store, view.plan, job, job.inputs(view.done(job)), view.load_paths)
    if verdict.reused is None:
        return False
    from dstack_core._content.entries import tree_key
    from dstack_core._ledger.marks import saving

    marks.enter_context(saving(view.store, f"{name} of {view.run.name}", run=view.run.name))
    if not all(view.store.exists(tree_key(artifact.tree)) for artifact in verdict.reused.artifacts):
        return False  # freed since it was looked for
    source = f"{verdict.reused.run}/{verdict.reused.job}"
    job_record = JobRecord(
        view.run.name,
        name,
        "reused",
        artifacts=verdict.reused.artifacts,
        reason=verdict.reason,
        reused_from=source,
        saved=verdict.reused.duration,
    )
    return _record(view, tell, job_record)


def _finish(view: RunView, tell: Tell) -> None:
    status = view.progress.outcome()
    if view.run.tag and status == "done":
        from dstack_core._engine.tagging import tag_run

        warning = tag_run(view.store, view, view.run.tag, view.run.user)
        if warning:
            import logging  # rarely needed, and slow to import

            logging.getLogger("dstack").warning(warning)
    now = time.time()
    cost = cost_so_far(view.store, view.run.name, now)
    run, mine = finish_run(view.store, view.run.name, status, view.exit_code(), now, cost)
    with contextlib.suppress(NotFoundError):
        view.refresh()
    if mine:
        tell(RunEvent(run.name, run.workflow, status, run.finished or 0.0))
