"""`dstack why`: what of the repository the jobs of a run depend on, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from dstack_core._cli.context import context
from dstack_core._cli.jobs import job_records, tell_warnings
from dstack_core._cli.kept import escaped
from dstack_core._cli.lookup import check_job, complete_run, find_run, warn_of
from dstack_core._cli.render import table, write_json
from dstack_core._ledger.records import SUCCESS, JobRecord, RunRecord
from dstack_core._ledger.runs import read_run
from dstack_core._ledger.traces import Trace
from dstack_core._plan.job import PlannedJob
from dstack_core._plan.key import as_run
from dstack_core._plan.learned import files_of, folders_of, trees_of
from dstack_core._plan.stored import read_run_plan
from dstack_core._plan.trace import find_trace
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import NotFoundError
from dstack_core.models import Artifact

Row = dict[str, Any]
Found = Mapping[str, "tuple[PlannedJob, JobRecord]"]

COLUMNS: Final = ("job", "status", "depends_on", "files", "found_in", "reason")
COUNTS: Final = (("content", "files"), ("names", "folders"), ("all in it", "trees"))
"""What counts of a path, and the key of its row."""


def complete_job(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: names of the jobs of the run that is named before."""
    try:
        with ctx.scope(cleanup=False):
            there, run = find_run(context(), ctx.params["run"])
            plan = read_run_plan(there.store, run)
    except Exception:  # completion must never disturb the shell
        return []
    return [job.name for job in plan.jobs if job.name.startswith(incomplete)]


@click.command()
@click.argument("run", shell_complete=complete_run)
@click.argument("job", required=False, shell_complete=complete_job)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(run: str, job: str | None, as_json: bool) -> None:
    """Show what of the repository the jobs of RUN depend on, or one JOB: a change of that runs them again.

    It is what they were seen to read: the content of files, the names in folders. Or it is what their `inputs` declare,
    or all of the code when they could not be observed; then the reason is shown. Of a job that was reused it is what
    the job that made its artifacts had read.
    """
    here, record = find_run(context(), run)
    found = _jobs(here.store, record)
    check_job(run, job, found)
    rows = [_row(here.store, record, found, name) for name in ([job] if job else found)]
    if as_json:
        write_json({"run": record.name, "workflow": record.workflow, "jobs": rows})
        return
    shown = [c for c in COLUMNS if c in COLUMNS[:3] or any(row[c] not in (None, []) for row in rows)]
    table(shown, [{**row, "files": _count(row)} for row in rows])
    paths = [
        {"job": row["job"], "counts": counts, "path": path}
        for row in rows
        for counts, key in COUNTS
        for path in row[key]
    ]
    if paths:
        click.echo()
        table((*(["job"] if len(rows) > 1 else []), "counts", "path"), paths, formats={"path": escaped})
    tell_warnings(rows)


def _jobs(store: ArtifactStore, run: RunRecord) -> Found:
    return {planned.name: (planned, job) for planned, job in job_records(store, run, warn_of)}


def _count(row: Row) -> str | None:
    if row["depends_on"] in (None, "all"):
        return None
    total = f" of {row['of']:,}" if row["of"] is not None else ""
    return f"{len(row['files']):,}{total}"


def _row(store: ArtifactStore, run: RunRecord, found: Found, name: str) -> Row:
    _, job = found[name]
    trace = _trace(store, run, found, name) if job.status in SUCCESS else None
    row: Row = {
        "job": name,
        "status": job.status,
        "depends_on": None,
        "found_in": None,
        "reason": "its trace is no longer stored" if job.status in SUCCESS else "only a job that succeeded tells",
        "files": [],
        "folders": [],
        "trees": [],
        "of": None,
        "warnings": list(job.warnings),
    }
    return {**row, **_told(store, trace)} if trace else row


def _told(store: ArtifactStore, trace: Trace) -> Row:
    """What a trace says of the code."""
    watched = trace.watched
    return {
        "depends_on": "all" if watched.kind != "paths" else "observed" if watched.observed else "declared",
        "found_in": f"{trace.run}/{trace.job}",
        "reason": watched.hindrance or None,
        "files": files_of(watched),
        "folders": folders_of(watched),
        "trees": trees_of(watched),
        "of": _files(store, trace.snapshot),
    }


def _files(store: ArtifactStore, snapshot: str) -> int | None:
    from dstack_core._plan.reuse import stored_paths

    paths = stored_paths(store)(snapshot)
    return None if paths is None else len(paths)


def _trace(store: ArtifactStore, run: RunRecord, found: Found, name: str) -> Trace | None:
    """What the job left behind, or the job that it was reused from."""
    planned, job = found[name]
    by_run, _, by_job = (job.reused_from or f"{run.name}/{name}").partition("/")
    done: Mapping[str, tuple[Artifact, ...]] = {name: job.artifacts for name, (_, job) in found.items()}
    ran = as_run(planned, job.attempts[-1].image_digest if job.attempts else None)
    trace = find_trace(store, ran, done, by_run, by_job)
    if trace is None and job.reused_from:  # `--reuse latest`: its key was another one
        try:
            source = read_run(store, by_run).value
            others = _jobs(store, source)
        except NotFoundError:
            return None
        return _trace(store, source, others, by_job) if by_job in others else None
    return trace
