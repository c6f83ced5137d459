"""Runs as rows of a listing."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context
from dstack_core._cli.lookup import Warnings, everywhere, place_of, unasked
from dstack_core._cli.render import table
from dstack_core._engine.remote import DEFAULT
from dstack_core._ledger.ahead import Ahead
from dstack_core._ledger.records import FINISHED, RunRecord
from dstack_core._ledger.runs import active_runs, file_finished, finished_runs, listings
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, StoreError

if TYPE_CHECKING:
    from dstack_core._engine.view import RunView

Row = dict[str, Any]

COLUMNS: Final = ("run", "workflow", "status", "submitted", "duration", "tag")


class Listing(Protocol):
    """Rows that can be read again and again.

    Attributes:
        key: the column that tells rows apart.
        columns: those of the rows that were read last.
        formats: how values become text.
    """

    key: str
    columns: Sequence[str]
    formats: Mapping[str, Callable[[Any], str]]

    def rows(self) -> list[Row]:
        """As they are now."""

    def print(self, *, as_json: bool) -> None:
        """Show them once."""


@dataclass(frozen=True)
class Selection:
    """Which finished runs are listed beside the active ones: all, the last N, or the last if nothing is active."""

    everything: bool = False
    last: int | None = None
    all_repos: bool = False


class RunsListing:
    """The runs of a repository, or of all.

    Attributes:
        silent: names of the remotes that could not be asked at the last look.
    """

    key = "run"

    def __init__(self, here: Context, selection: Selection) -> None:
        self._here = here
        self._selection = selection
        self._warn = Warnings()
        self.columns: Sequence[str] = COLUMNS
        self.formats = FORMATS
        self.silent: set[str] = set()

    def rows(self) -> list[Row]:
        """See `Listing`. Reads no more than what is shown."""
        runs = list(self._runs())
        others = any(run.user != self._here.user for run, _ in runs)
        remote = any(run.remote != DEFAULT.name for run, _ in runs)
        priced = any(run.cost for run, _ in runs)
        more = {"cost": priced, "remote": remote, "user": others, "repo": self._selection.all_repos}
        self.columns = (*COLUMNS, *(column for column, shown in more.items() if shown))
        return [run_row(run, status) for run, status in runs]

    def print(self, *, as_json: bool) -> None:
        """See `Listing`."""
        rows = self.rows()
        if rows or as_json:
            table(self.columns, rows, json=as_json, formats=self.formats)
        else:
            click.echo("No runs yet. Start one with: dstack run WORKFLOW")

    def _runs(self) -> Iterator[tuple[RunRecord, str]]:
        self.silent = set()
        places = {there: Ahead(there.store, listings(self._repo)) for there in everywhere(self._here, self._warn)}
        going = [pair for there, store in places.items() for pair in self._active(there, store)]
        yield from sorted(going, key=lambda pair: -pair[0].submitted)
        most = self._selection.last if self._selection.last is not None else 0 if going else 1
        if most or self._selection.everything:
            answering = {there: store for there, store in places.items() if there.remote.name not in self.silent}
            finished = _distinct(newest(answering, self._repo, self._warn))
            yield from ((run, run.status) for run in islice(finished, None if self._selection.everything else most))

    @property
    def _repo(self) -> str | None:
        return None if self._selection.all_repos else self._here.repo

    def _active(self, there: Context, store: ArtifactStore) -> Iterator[tuple[RunRecord, str]]:
        """Those that are still active after they were looked at."""
        try:
            active = [document.value for document in active_runs(store, self._repo, self._warn)]
        except StoreError as error:  # a remote that does not answer
            if there.is_home:
                raise
            self.silent.add(there.remote.name)
            self._warn(unasked(there, error))
            return
        for found in active:
            run, status = look(place_of(there, found), found, self._warn)
            if run.status in FINISHED:
                file_finished(there.store, run)  # it ended just now, and perhaps nobody has filed it yet
            else:
                yield run, status


def newest(
    places: Mapping[Context, ArtifactStore], repo: str | None, problem: Callable[[DstackError], None]
) -> Iterator[RunRecord]:
    """The finished runs of all these, the last one first. Reads no more than what is taken.

    Raises:
        StoreError: this machine's own store does not answer.
    """

    def of(there: Context) -> Iterator[RunRecord]:
        try:
            yield from finished_runs(places[there], repo, problem)
        except StoreError as error:  # a remote that does not answer
            if there.is_home:
                raise
            problem(unasked(there, error))

    return heapq.merge(*map(of, places), key=lambda run: -(run.finished or 0.0))


def _distinct(runs: Iterable[RunRecord]) -> Iterator[RunRecord]:
    """Each run once: one that was pushed or pulled is in several stores."""
    seen: set[tuple[str, str, float]] = set()
    for run in runs:
        same = (run.name, run.user, run.submitted)
        if same not in seen:
            yield run
        seen.add(same)


def look(here: Context, run: RunRecord, problem: Callable[[DstackError], None]) -> tuple[RunRecord, str]:
    """An active run after it was brought forward, with its cost so far, and its status. What goes wrong with it is told
    to `problem`."""
    try:
        view = here.advance(run.name)
        for damage in view.damaged.values():
            problem(damage)
        return _priced(view), view.status()
    except DstackError as error:
        problem(_named(error, run.name))
    except (Exception, SystemExit) as error:  # a strange plugin, a misfit record: never the end of a listing
        from dstack_core._plugins.blame import blame

        unknown = DstackError(f"{type(error).__name__}: {error}")
        problem(_named(blame(here.plugins, error) or unknown, run.name))
    return run, _status_without_jobs(here, run)


def _priced(view: RunView) -> RunRecord:
    """The run with what it has cost so far."""
    if view.finished or not view.machines:
        return view.run
    now = time.time()
    return replace(view.run, cost=sum(machine.cost(now) for machine in view.machines))


def run_row(run: RunRecord, status: str) -> Row:
    """What a listing tells of a run; all of it in JSON."""
    return {
        "run": run.name,
        "workflow": run.workflow,
        "status": status,
        "submitted": moment(run.submitted),
        "duration": round((run.finished or time.time()) - run.submitted, 3),
        "finished": moment(run.finished),
        "exit_code": run.exit_code,
        "tag": run.tag,
        "cost": round(run.cost, 6),
        "budget": run.budget,
        "reason": run.reason,
        "user": run.user,
        "repo": run.repo,
        "remote": run.remote,
        "branch": run.branch,
        "commit": run.commit,
        "changes": run.changes,
    }


def moment(seconds: float | None) -> str | None:
    """A time as ISO 8601 in UTC."""
    if seconds is None:
        return None
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03}Z"


def ago(text: str) -> str:
    """How long ago a `moment` is."""
    return words.ago(time.time() - _seconds(text))


def until(text: str) -> str:
    """How far off a `moment` is."""
    return f"in {words.duration(max(0, round(_seconds(text) - time.time())))}"


def _seconds(text: str) -> int:
    import calendar

    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "submitted": ago,
    "duration": words.duration,
    "cost": words.dollars,
}


def _named(error: DstackError, run: str) -> DstackError:
    """The same error, with the run that it is about."""
    message = str(error) if run in str(error) else f"{run}: {error}"
    return DstackError(message, hint=error.hint)


def _status_without_jobs(here: Context, run: RunRecord) -> str:
    from dstack_core._engine.view import RunView

    try:
        return RunView(here.store, run.name).status()
    except (Exception, SystemExit):  # told already
        return {"stop": "stopping", "abort": "aborting"}.get(run.desired or "", run.status)
