"""How a followed run is shown where there is no terminal: logs to stdout, what becomes of jobs to stderr."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator

from dstack_core._cli import words
from dstack_core._cli.doors import Address
from dstack_core._content.logs import LogEntry
from dstack_core._engine.outcome import attempts_allowed
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import FINISHED, JobRecord, RunRecord
from dstack_core.models import Retry


class Lines:
    """Whole lines out of what a job writes piece by piece, with the job's name before each when several run."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        # Grown in place: a line of many megabytes comes in many pieces.
        self._rest: dict[str, bytearray] = {}

    def add(self, stream: str, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield self._prefix + bytes(self._rest.pop(stream, b"")) + end + b"\n"
        if rest:
            self._rest.setdefault(stream, bytearray()).extend(rest)

    def tail(self, most: int) -> bytes:
        """The last bytes of what waits for its end of line, `most` of each stream."""
        return b"".join(bytes(rest[-most:]) for rest in self._rest.values())

    def flush(self) -> Iterator[bytes]:
        """What never got its end of line."""
        for stream in list(self._rest):
            yield self._prefix + bytes(self._rest.pop(stream)) + b"\n"


def prefix_of(job: str, jobs: list[str]) -> str:
    """What stands before the lines of a job: nothing when it is the only one."""
    return f"{job.ljust(min(32, max(map(len, jobs))))} | " if len(jobs) > 1 else ""


def job_line(record: JobRecord) -> str | None:
    """What became of a job, in one line; None while it is under way and there is nothing to tell."""
    if record.status == "reused":
        return f"{record.job}: reused from {record.reused_from} ({record.reason})"
    if record.status == "submitted":  # the reason says which attempt failed
        return f"{record.job}: {record.reason}; {next_try(record)}"
    if record.status == "interrupted":
        return f"{record.job}: attempt {len(record.attempts)} ended: {record.reason}; {next_try(record)}"
    if record.status not in FINISHED:
        return None
    last = record.attempts[-1] if record.attempts else None
    took = f" in {words.duration(last.finished - last.started)}" if last and last.finished else ""
    saved = "".join(f", {a.path} ({words.plural(a.files, 'file')}, {words.size(a.size)})" for a in record.artifacts)
    why = f": {record.reason}" if record.reason else ""
    return f"{record.job}: {record.status}{took}{why}{saved}"


def next_try(record: JobRecord) -> str:
    """When a job that waits for its next attempt gets it."""
    wait = record.not_before - time.time()
    return f"next try in {words.duration(math.ceil(wait))}" if wait > 0 else "it is tried again"


def attempt_words(record: JobRecord, retry: Retry, number: int | None = None) -> str:
    """`attempt 2 of 3`; `attempt 2` after a loss without `retry:`; nothing for the only one. By default the last."""
    number = len(record.attempts) if number is None else number
    allowed = attempts_allowed(record.attempts, retry)
    if allowed:
        return f"attempt {number} of {allowed}"
    return f"attempt {number}" if number > 1 else ""


def run_line(run: RunRecord) -> str:
    """The last line about a run."""
    if run.status not in FINISHED:
        return f"{run.name} goes on without you. Follow it: dstack logs -a {run.name}"
    took = words.duration((run.finished or run.submitted) - run.submitted)
    tagged = f", tagged {run.tag}" if run.tag and run.status == "done" else ""
    why = f" ({run.reason})" if run.reason and run.status != "done" else ""
    return f"{run.name}: {run.status} in {took}{tagged}{why}"


class PlainPresenter:
    """For pipes, files and CI. One job's bytes are passed on as they are; several jobs' line by line, with names."""

    def __init__(self, jobs: list[str]) -> None:
        self._jobs = jobs
        self._lines: dict[str, Lines] = {}

    def job(self, record: JobRecord) -> None:
        """Tell it on stderr."""
        line = job_line(record)
        if line:
            sys.stdout.flush()
            print(line, file=sys.stderr, flush=True)
            for warning in record.warnings:
                print(f"{record.job}: warning: {warning}", file=sys.stderr, flush=True)

    def log(self, job: str, entry: LogEntry) -> None:
        """Pass it on to stdout."""
        out = sys.stdout.buffer
        if entry.stream == "gap":
            print(f"{job}: some of its output is missing here", file=sys.stderr, flush=True)
        elif entry.stream == "x":
            out.writelines(self._lines_of(job).flush())
        elif len(self._jobs) <= 1:
            out.write(entry.data)
        else:
            out.writelines(self._lines_of(job).add(entry.stream, entry.data))

    def served(self, address: Address) -> None:
        """Tell it on stderr, without the token: this may go to a file that others read."""
        sys.stdout.flush()
        print(f"{address.title}: answers at {address.url}", file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """Tell it on stderr."""
        sys.stdout.flush()
        print(f"warning: {message}", file=sys.stderr, flush=True)

    def tick(self, view: RunView) -> None:
        """Let the reader have it now."""
        sys.stdout.flush()

    def end(self, view: RunView) -> None:
        """The last line."""
        from dstack_core._cli.summary import gained, where

        sys.stdout.flush()
        line = run_line(view.run)
        if view.finished:
            command = where(view)
            line += gained(view) + (f"; artifacts: {command}" if command else "")
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """The reader gets the rest."""
        sys.stdout.flush()

    def pause(self) -> contextlib.AbstractContextManager[None]:
        """Nothing moves here."""
        return contextlib.nullcontext()

    def _lines_of(self, job: str) -> Lines:
        if job not in self._lines:
            self._lines[job] = Lines(prefix_of(job, self._jobs).encode())
        return self._lines[job]


class QuietPresenter:
    """For programs: they read the record at the end."""

    def job(self, record: JobRecord) -> None:
        """Nothing."""

    def log(self, job: str, entry: LogEntry) -> None:
        """Nothing."""

    def served(self, address: Address) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """Tell it on stderr."""
        print(f"warning: {message}", file=sys.stderr, flush=True)

    def tick(self, view: RunView) -> None:
        """Nothing."""

    def end(self, view: RunView) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def pause(self) -> contextlib.AbstractContextManager[None]:
        """Nothing moves here."""
        return contextlib.nullcontext()
