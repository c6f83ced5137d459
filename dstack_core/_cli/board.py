"""What `dstack ps -w` shows on a terminal: the active runs and how each stands, read as cheaply as can be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from dstack_core._cli.context import Context
from dstack_core._cli.logtext import clean
from dstack_core._cli.lookup import everywhere, find_run, place_of, unasked
from dstack_core._cli.render import one_line
from dstack_core._cli.runs import Selection, newest
from dstack_core._content.logs import LogCursor, LogReader
from dstack_core._content.logwriting import ENTRY_LIMIT
from dstack_core._engine.advance import advance
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import CLAIMED, WAITING, JobRecord, RunRecord
from dstack_core._ledger.runs import active_runs, log_prefix
from dstack_core.errors import DstackError, StoreError

REPAIR: Final = 2.0
"""Seconds between checks that a run's machine is alive."""
MOST_TAILS: Final = 50
"""Running jobs of a run whose last line is looked for: more do not fit on a screen."""
TAIL: Final = 2 * ENTRY_LIMIT
"""Bytes at the end of a log in which the last line is looked for: a whole entry is among them."""


class Watched:
    """One run.

    Attributes:
        working: jobs that a machine works on; `retrying`: those that wait for another attempt.
        failed: jobs that failed. `counts`: how many jobs have each status.
        said: the last line of the output of the jobs in `working`.
    """

    def __init__(self, here: Context, name: str) -> None:
        self.here = here
        self._repaired = 0.0
        self._tails: dict[tuple[str, int], LogCursor] = {}
        self.view = RunView(here.store, name)
        self.said: dict[str, str] = {}
        self._sort()

    @property
    def run(self) -> RunRecord:
        """As last read."""
        return self.view.run

    def look(self) -> None:
        """Read what changed, and repair what is broken."""
        now = time.monotonic()
        if now - self._repaired > REPAIR:
            self._repaired = now
            advance(place_of(self.here, self.run).engine, self.view)
        else:
            self.view.refresh()
        self._sort()
        for job in self.working[:MOST_TAILS]:
            self._listen(job)

    def _sort(self) -> None:
        records = [document.value for document in self.view.jobs.values()]
        self.counts = Counter(self.view.progress.status.values())
        self.working = sorted((j for j in records if j.status in CLAIMED), key=lambda job: job.attempts[-1].started)
        self.retrying = [j for j in records if j.status in WAITING and j.attempts]
        self.failed = [j for j in records if j.status in ("failed", "damaged")]

    def _listen(self, job: JobRecord) -> None:
        number = len(job.attempts)
        reader = LogReader(self.here.store, log_prefix(job.run, job.job, number))
        cursor = self._tails.get((job.job, number))
        if cursor is None:
            self.said.pop(job.job, None)
            cursor = reader.near_end(TAIL)
        batch = reader.read(cursor)
        self._tails[job.job, number] = batch.cursor
        wrote = b"".join(entry.data for entry in batch.entries[-20:] if entry.stream in "oe")
        line = _last_line(wrote)
        if line:
            self.said[job.job] = line


class Board:
    """The runs that are watched.

    Attributes:
        runs: those that are active, the newest first; `ended`: those that are finished, the last one first.
        problems: what could not be read at the last look.
    """

    def __init__(self, here: Context, selection: Selection, only: str | None = None) -> None:
        self._here = here
        self._selection = selection
        self._only = only
        self._watched: dict[str, Watched] = {}
        self.runs: list[Watched] = []
        self.ended: list[RunRecord] = []
        self.problems: list[str] = []

    def look(self) -> None:
        """Read how everything stands now."""
        self.problems = []
        for name, there in self._names().items():
            try:
                if name not in self._watched:
                    self._watched[name] = Watched(there, name)
                self._watched[name].look()
            except DstackError as error:
                self._problem(error)
            except Exception as error:  # a strange plugin, a record that fits its plan badly: never the end of a view
                self._problem(DstackError(f"{type(error).__name__}: {error}", where=name))
        self.runs = sorted(self._shown(), key=lambda watched: -watched.run.submitted)
        self.ended = self._finished()

    def _names(self) -> Mapping[str, Context]:
        if self._only:
            there, run = find_run(self._here, self._only)
            return {run.name: there}
        unfinished = {name: watched.here for name, watched in self._watched.items() if not watched.view.finished}
        active = {run.name: there for there in self._places() for run in self._active(there)}
        return {**unfinished, **active}

    def _places(self) -> Iterator[Context]:
        return everywhere(self._here, self._problem)

    def _active(self, there: Context) -> Iterator[RunRecord]:
        try:
            yield from (document.value for document in active_runs(there.store, self._repo, self._problem))
        except StoreError as error:  # a remote that does not answer
            self._problem(unasked(there, error))

    def _shown(self) -> Iterable[Watched]:
        return (watched for watched in self._watched.values() if self._only or not watched.view.finished)

    def _finished(self) -> list[RunRecord]:
        """Those that ended while they were watched, and those that the user wants to see."""
        if self._only:
            return []
        found = {watched.run.name: watched.run for watched in self._watched.values() if watched.view.finished}
        most = self._selection.last if self._selection.last is not None else 0 if self.runs or found else 1
        ended = newest({there: there.store for there in self._places()}, self._repo, self._problem)
        for run in ended if most or self._selection.everything else ():
            if len(found) >= (MOST_TAILS if self._selection.everything else most):
                break
            found.setdefault(run.name, run)
        return sorted(found.values(), key=lambda run: -(run.finished or 0.0))

    @property
    def _repo(self) -> str | None:
        return None if self._selection.all_repos else self._here.repo

    def _problem(self, error: DstackError) -> None:
        if str(error) not in self.problems:
            self.problems.append(str(error))


def _last_line(data: bytes) -> str:
    """The last line with anything on it, as a terminal would leave it, without colours."""
    lines = clean(data).replace(b"\r", b"\n").split(b"\n")
    for line in reversed(lines):
        text = one_line(_without_colours(line).decode("utf-8", "replace"))
        if text:
            return text
    return ""


def _without_colours(line: bytes) -> bytes:
    import re

    return re.sub(rb"\x1b\[[0-9;:]*m", b"", line)
