"""`dstack logs`: what the jobs of a run wrote."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import click

from dstack_core._cli.context import Context, context
from dstack_core._cli.jobs import job_records
from dstack_core._cli.logtext import TICKS, JsonPrinter, Printer, TextPrinter
from dstack_core._cli.lookup import Warnings, complete_job, complete_run, find_run, warn
from dstack_core._cli.runs import look
from dstack_core._cli.show import prefix_of
from dstack_core._content.logs import LogReader
from dstack_core._engine.outcome import attempts_allowed
from dstack_core._ledger.records import FINISHED, Attempt, JobRecord, RunRecord
from dstack_core._ledger.runs import log_prefix
from dstack_core.errors import NotFoundError

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _since(_: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A time in the past, as seconds since the epoch: `5m` ago, or ISO 8601."""
    if value is None:
        return None
    amount = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value.strip())
    if amount:
        return time.time() - float(amount[1]) * UNITS[amount[2]]
    from datetime import datetime

    text = value.strip()
    try:
        # Python 3.10 knows no `Z`. A time without a zone is the user's own.
        return datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text).timestamp()
    except (ValueError, OverflowError, OSError):
        message = f"{value!r} is neither like 30s, 5m, 2h, 1d nor like 2024-05-31T12:00:00Z"
        raise click.BadParameter(message, param=param) from None


@click.command()
@click.argument("run", shell_complete=complete_run)
@click.argument("job", required=False, shell_complete=complete_job)
@click.option("-a", "--attach", is_flag=True, help="Follow the run until it ends; exit with its code.")
@click.option("-s", "--since", callback=_since, metavar="TIME", help="Only what is newer: 5m, 2h, 1d, or ISO 8601.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt; all by default.")
@click.option("-t", "--timestamps", is_flag=True, help="Print the time before each line.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def logs(
    run: str, job: str | None, attach: bool, since: float | None, attempt: int | None, timestamps: bool, as_json: bool
) -> int:
    """Print what the jobs of RUN wrote: all of them in the order of their start, or JOB alone.

    Output goes where the job sent it, to stdout or stderr. A hole in a log, or an end that was never written, is told
    on stderr.
    """
    here, record = find_run(context(), run)
    if attach:
        if job or since or attempt or timestamps or as_json:
            raise click.UsageError("--attach follows the whole run: no other option or job goes with it.")
        return _attach(here, record)
    problem = Warnings()
    if record.status not in FINISHED:
        record, _ = look(here, record, problem)
    _Logs(here, record, since, timestamps, as_json, problem).print(job, attempt)
    return 0


def _attach(here: Context, record: RunRecord) -> int:
    from dstack_core._cli.follow import follow
    from dstack_core._cli.run import presenter_for
    from dstack_core._engine.view import RunView

    view = RunView(here.store, record.name)
    return follow(here, view, presenter_for(view), only_looks=True)


@dataclass(frozen=True)
class _Logs:
    """The logs of a run. `since`: seconds since the epoch."""

    here: Context
    run: RunRecord
    since: float | None
    timestamps: bool
    as_json: bool
    problem: Warnings
    allowed: dict[str, int | None] = field(default_factory=dict)

    def print(self, job: str | None, attempt: int | None) -> None:
        """Those of one job, of one attempt, or all."""
        found = list(job_records(self.here.store, self.run, self.problem, job))
        records = [record for _, record in found]
        self.allowed.update((record.job, attempts_allowed(record.attempts, one.spec.retry)) for one, record in found)
        tries = sorted(
            ((one.started, n, record, one) for n, record in enumerate(records) for one in record.attempts),
            key=lambda found: found[:2],
        )
        if attempt is not None:
            tries = [found for found in tries if found[3].number == attempt]
        if not tries:
            self._nothing(records, job, attempt)
        jobs = list(dict.fromkeys(record.job for *_, record, _ in tries))
        for *_, record, one in tries:
            self._attempt(record, one, jobs)

    def _attempt(self, record: JobRecord, attempt: Attempt, jobs: list[str]) -> None:
        name = record.job
        if len(record.attempts) > 1:
            allowed = self.allowed[record.job]
            name += f", attempt {attempt.number}{f' of {allowed}' if allowed else ''}"
        if self.as_json:
            printer: Printer = JsonPrinter(record.job, attempt.number)
        else:
            printer = TextPrinter(prefix_of(record.job, jobs), timestamps=self.timestamps)
            if attempt.number > 1:
                self._tell(f"{name}:")
        wrote, ended = self._entries(record, attempt, printer, name)
        if attempt.finished is None:
            return
        if not ended:
            warn(f"{name}: the log ends early: its runner was killed")
        if not wrote and attempt.reason and self.since is None:
            self._tell(f"{name}: {attempt.status}: {attempt.reason}")

    def _entries(self, record: JobRecord, attempt: Attempt, printer: Printer, name: str) -> tuple[bool, bool]:
        """Print them; whether there were any, and whether their end is there."""
        reader = LogReader(self.here.store, log_prefix(record.run, record.job, attempt.number))
        since = int(self.since * TICKS) if self.since is not None else None
        wrote = ended = False
        for entry in reader.read_all(None if since is None else reader.start(since), since):
            wrote |= entry.stream in ("o", "e")
            ended |= entry.stream == "x"
            printer.entry(entry)
            if entry.stream == "gap":
                warn(f"{name}: {entry.data.decode('ascii', 'replace')} entries of the log are missing here")
        printer.close()
        return wrote, ended

    def _nothing(self, records: Sequence[JobRecord], job: str | None, attempt: int | None) -> None:
        """Say why there is no log. Raises NotFoundError for an attempt that does not exist."""
        if attempt is not None:
            of = f" of {job}" if job else ""
            raise NotFoundError(f"{self.run.name} has no attempt {attempt}{of}", hint=f"dstack ps {self.run.name}")
        for record in records:
            if record.reused_from:
                run, _, source = record.reused_from.partition("/")
                self._tell(f"{record.job} was reused: dstack logs {run} {shlex.quote(source)}")
            else:
                why = f" ({record.reason})" if record.reason else ""
                self._tell(f"{record.job} wrote nothing: it is {record.status}{why}")

    def _tell(self, text: str) -> None:
        sys.stdout.flush()
        click.echo(text, err=True)
