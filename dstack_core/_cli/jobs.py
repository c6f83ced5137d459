"""The jobs of a run as rows of a listing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context
from dstack_core._cli.lookup import Warnings, check_job
from dstack_core._cli.render import one_line, table, write_json
from dstack_core._cli.runs import COLUMNS as RUN_COLUMNS
from dstack_core._cli.runs import FORMATS as RUN_FORMATS
from dstack_core._cli.runs import Row, look, moment, run_row, until
from dstack_core._engine.outcome import attempts_allowed
from dstack_core._ledger.records import FINISHED, WAITING, JobRecord, RunRecord
from dstack_core._ledger.runs import read_job, read_run
from dstack_core._plan.job import REUSE, PlannedJob
from dstack_core._plan.stored import read_run_plan
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError

COLUMNS: Final = (
    "job",
    "status",
    "attempt",
    "attempts_allowed",
    "next_try",
    "duration",
    "exit_code",
    "artifacts",
    "reused_from",
    "reason",
)
FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "duration": words.duration,
    "next_try": until,
    "artifacts": lambda artifacts: ", ".join(artifact["path"] for artifact in artifacts),
}


class JobsListing:
    """The jobs of a run, in the plan's order: what a job needs stands above it."""

    key = "job"

    def __init__(self, here: Context, run: str) -> None:
        self._here = here
        self._name = run
        self._warn = Warnings()
        self._run: Row = {}
        self.columns: Sequence[str] = COLUMNS
        self.formats = FORMATS

    def rows(self) -> list[Row]:
        """See `Listing`. A job whose record is damaged has a status of its own, so that the others can be seen."""
        run = read_run(self._here.store, self._name).value
        status = run.status
        if status not in FINISHED:
            run, status = look(self._here, run, self._warn)
        self._run = run_row(run, status)
        rows = [_row(planned, job) for planned, job in job_records(self._here.store, run, self._warn)]
        self.columns = [c for c in COLUMNS if c in ("job", "status") or any(row[c] not in (None, []) for row in rows)]
        return rows

    def print(self, *, as_json: bool) -> None:
        """See `Listing`."""
        rows = self.rows()
        if as_json:
            write_json({**self._run, "jobs": rows})
            return
        cost = ["cost"] if self._run["cost"] else []
        table((*RUN_COLUMNS, *cost, "user", "repo"), [self._run], formats=RUN_FORMATS)
        click.echo()
        table(self.columns, rows, formats=FORMATS)
        tell_warnings(rows)


def tell_warnings(rows: Sequence[Row]) -> None:
    """What is not as it should be with jobs that go on or are done, on stderr below the table of them."""
    sys.stdout.flush()
    for row in rows:
        for warning in row["warnings"]:
            click.echo(f"{row['job']}: warning: {one_line(warning)}", err=True)


def job_records(
    store: ArtifactStore, run: RunRecord, problem: Callable[[DstackError], None], only: str | None = None
) -> Iterator[tuple[PlannedJob, JobRecord]]:
    """Every job as it stands, in the plan's order, or one. One whose record cannot be read is `damaged`.

    Raises:
        NotFoundError: there is no job of the name `only`.
    """
    jobs = read_run_plan(store, run).jobs
    check_job(run.name, only, (planned.name for planned in jobs))
    for planned in (planned for planned in jobs if only in (None, planned.name)):
        try:
            document = read_job(store, run.name, planned.name)
        except DstackError as error:
            problem(error)
            yield planned, JobRecord(run.name, planned.name, "damaged", reason="its record cannot be read")
        else:
            yield planned, document.value if document else _without_record(run, planned)


def _without_record(run: RunRecord, planned: PlannedJob) -> JobRecord:
    """A job that nobody has claimed: reused by the plan, or still to come."""
    if planned.reused and planned.decision == REUSE:
        source = f"{planned.reused.run}/{planned.reused.job}"
        return JobRecord(
            run.name,
            planned.name,
            "reused",
            artifacts=planned.reused.artifacts,
            reason=planned.reason,
            reused_from=source,
            saved=planned.reused.duration,
        )
    return JobRecord(run.name, planned.name, "submitted")


def _row(planned: PlannedJob, job: JobRecord) -> Row:
    last = job.attempts[-1] if job.attempts else None
    waits = job.status in WAITING and job.not_before > time.time()
    return {
        "job": job.job,
        "status": job.status,
        "attempt": last.number if last else None,
        "attempts_allowed": attempts_allowed(job.attempts, planned.spec.retry),
        "next_try": moment(job.not_before) if waits else None,
        "duration": round((last.finished or time.time()) - last.started, 3) if last else None,
        "started": moment(last.started) if last else None,
        "finished": moment(last.finished) if last else None,
        "exit_code": job.exit_code,
        "artifacts": [{"path": a.path, "files": a.files, "size": a.size, "tree": a.tree} for a in job.artifacts],
        "reused_from": job.reused_from,
        "saved": job.saved if job.reused_from else None,
        "reason": job.reason,
        "warnings": list(job.warnings),
        "ports": list(job.ports),
        "attempts": [
            {
                "number": a.number,
                "status": a.status,
                "machine": a.machine,
                "started": moment(a.started),
                "finished": moment(a.finished),
                "exit_code": a.exit_code,
                "reason": a.reason,
                "phases": dict(a.phases),
            }
            for a in job.attempts
        ],
    }
