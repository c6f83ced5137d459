"""Attach to a run: its logs and states as they come, until it ends or the user lets go of it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol

from dstack_core._cli.context import Context
from dstack_core._cli.doors import Address, Doors
from dstack_core._cli.interrupts import deferred
from dstack_core._content.logs import LogCursor, LogEntry, LogReader
from dstack_core._engine.advance import advance
from dstack_core._engine.outcome import Ending, after
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import JobRecord
from dstack_core._ledger.runs import ask_to_end, log_prefix
from dstack_core.errors import DstackError, StoreError

SHORTEST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.05
MUCH: Final = 1 << 20
"""Bytes of output at one look, after which there is probably more: the next look comes at once."""
PAUSE_SHARE: Final = 25
"""Seconds between looks: one part in 25 of the time that has passed, so that a short run is not waited for in vain,
within bounds. A look that takes long is followed by a longer pause, so that watching stays cheap."""
REST: Final = 0.5
"""Seconds that such a pause takes at most: somebody waits for what comes next."""
REPAIR_PAUSE: Final = 1.0
"""Seconds between checks that the run's machine is alive."""
DISTANT_REPAIR_PAUSE: Final = 5.0
"""The same where that is a question to a cloud."""
OUTAGE: Final = 30.0
"""Seconds for which a store that fails is tried again."""
LASTING_OUTAGE: Final = 5.0
"""The same for a failure that will hardly pass by itself."""
OUTAGE_PAUSE: Final = 0.5
"""Seconds between these tries."""
INTERRUPTED: Final = 130
"""Exit code when the user ended the run or let go of it: 128 + SIGINT."""


class Presenter(Protocol):
    """Shows what happens."""

    def job(self, record: JobRecord) -> None:
        """A job's record changed."""

    def log(self, job: str, entry: LogEntry) -> None:
        """A job wrote something."""

    def served(self, address: Address) -> None:
        """A port of a job answers."""

    def warn(self, message: str) -> None:
        """Something is wrong that may pass."""

    def tick(self, view: RunView) -> None:
        """Called at every look."""

    def end(self, view: RunView) -> None:
        """The run is finished, or the user lets go of it."""

    def close(self) -> None:
        """Nothing more is shown, whatever the reason: give the terminal back."""

    def pause(self) -> contextlib.AbstractContextManager[None]:
        """While the user is asked something."""


class _Logs:
    """Reads the logs of a run's attempts, each from where it was left."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._open: dict[tuple[str, int], tuple[LogReader, LogCursor | None]] = {}
        self._ended: set[tuple[str, int]] = set()

    def news(self, record: JobRecord) -> Iterator[LogEntry]:
        """What a job wrote since the last call. All of it, when `record` says that its attempt is over."""
        for attempt in record.attempts:
            if (record.job, attempt.number) not in self._ended:
                yield from self._read(record, attempt.number)

    def _read(self, record: JobRecord, number: int) -> Iterator[LogEntry]:
        key = (record.job, number)
        reader, cursor = self._open.get(key) or (
            LogReader(self._view.store, log_prefix(record.run, record.job, number)),
            None,
        )
        over = record.attempts[number - 1].finished is not None
        while True:
            batch = reader.read(cursor)
            cursor = batch.cursor
            self._open[key] = (reader, cursor)
            yield from batch.entries
            if batch.ended or (over and not batch.entries):
                self._ended.add(key)
                del self._open[key]
                return
            if not over:
                return  # one batch a look: what stands below the output is redrawn between


def follow(
    context: Context, view: RunView, presenter: Presenter, *, interrupted: bool = False, only_looks: bool = False
) -> int:
    """Show a run until it ends. The exit code: the run's, or 130 when the user ended it or let go.

    `interrupted`: Ctrl+C came before there was anything to follow. `only_looks`: Ctrl+C ends the looking, not the run.
    """
    looks = _Looks(context, view, presenter)
    try:
        detached = interrupted and _interrupted(context, view, presenter)
        while not detached:
            try:
                looks.until_finished()
                break
            except KeyboardInterrupt:
                detached = only_looks or _interrupted(context, view, presenter)
        presenter.end(view)
    finally:
        looks.close()
        presenter.close()
    if detached:
        return INTERRUPTED
    return INTERRUPTED if view.run.status in ("stopped", "aborted") else view.run.exit_code or 0


class _Looks:
    """The loop of `follow`; may be entered again after an interruption."""

    def __init__(self, context: Context, view: RunView, presenter: Presenter) -> None:
        self._context, self._view, self._presenter = context, view, presenter
        self._logs = _Logs(view)
        self._shown: dict[str, str] = {}
        self._told: dict[str, int] = {}
        self._doors = Doors(context)
        self._answering: set[Address] = set()
        self._warned: set[str] = set()
        self._came = 0
        self._troubled: float | None = None
        self._repaired = time.monotonic()

    def until_finished(self) -> None:
        """Return when the run is. Raises StoreError when the store has failed for too long."""
        began = time.monotonic()
        while True:
            started = time.monotonic()
            try:
                self._look(started)
                self._troubled = None
            except StoreError as error:
                self._endure(error)
                continue
            if self._view.finished:
                return
            now = time.monotonic()
            usual = min(max((now - began) / PAUSE_SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)
            pause = max(usual, min(4 * (now - started), REST))
            time.sleep(SHORTEST_PAUSE if self._came > MUCH else pause)

    def close(self) -> None:
        """What was opened to see what jobs serve is closed."""
        self._doors.close()

    def _look(self, now: float) -> None:
        """Whole, whenever Ctrl+C comes: what was read of a log and not shown would be lost when the user goes on."""
        with deferred(impatient=True) as interrupted:
            self._look_undisturbed(now)
        if interrupted:
            raise KeyboardInterrupt

    def _look_undisturbed(self, now: float) -> None:
        if now - self._repaired > (DISTANT_REPAIR_PAUSE if self._context.backend.distant else REPAIR_PAUSE):
            self._repaired = now
            advance(self._context.engine, self._view)
        else:
            self._view.refresh()
        self._show()

    def _endure(self, error: StoreError) -> None:
        """Wait a moment: the run goes on while the store fails, and so does the looking. Raises `error` in the end."""
        now = time.monotonic()
        if self._troubled is None:
            self._troubled = now
            self._presenter.warn(f"{error}; trying again")
        if now - self._troubled > (LASTING_OUTAGE if error.lasting else OUTAGE):
            raise error
        time.sleep(OUTAGE_PAUSE)

    def _show(self) -> None:
        self._came = 0
        for name, document in self._view.jobs.items():
            record = document.value
            for entry in self._logs.news(record):
                self._came += len(entry.data)
                self._presenter.log(name, entry)
            self._tell_of_ports(record)
            self._tell_of_ended_attempts(record)
            status = f"{record.status} {len(record.attempts)}"
            if self._shown.get(name) != status:
                self._shown[name] = status
                self._presenter.job(record)
                if name in self._view.damaged:
                    self._presenter.warn(str(self._view.damaged[name]))
        self._presenter.tick(self._view)

    def _tell_of_ports(self, record: JobRecord) -> None:
        """Of each that answers, once; and of what becomes of the way there."""
        if not record.ports:
            self._doors.leave(record.run, record.job)
            return
        try:
            addresses = self._doors.addresses(record, self._view.plan.job(record.job).spec)
        except StoreError:
            raise
        except DstackError as error:  # the run goes on, and so does the looking
            addresses = ()
            self._warn_once(f"{record.job}: {error}")
        for address in addresses:
            if address not in self._answering and address.answers():
                self._answering.add(address)
                self._presenter.served(address)
        for message in self._doors.news():
            self._presenter.warn(message)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._presenter.warn(message)

    def _tell_of_ended_attempts(self, record: JobRecord) -> None:
        """Of those that were followed by another between two looks; what follows them starts from the beginning."""
        for attempt in record.attempts[self._told.get(record.job, 0) : -1]:
            self._told[record.job] = attempt.number
            if self._shown.get(record.job) in (f"interrupted {attempt.number}", f"submitted {attempt.number}"):
                continue
            attempts = record.attempts[: attempt.number]
            ending = Ending(attempt.status, attempt.exit_code, attempt.reason)
            then = after(ending, attempts, self._view.plan.job(record.job).spec.retry)
            self._presenter.job(replace(record, status=then.status, reason=then.reason, attempts=attempts))


def _interrupted(context: Context, view: RunView, presenter: Presenter) -> bool:
    """Ctrl+C: whether to let go of the run. A second one, or no terminal to ask on, means stop."""
    run = view.run.name
    if view.run.desired:
        return True  # it is stopping already, and the user is in a hurry
    answer = "s"
    if sys.stdin.isatty() and sys.stderr.isatty():
        with presenter.pause():
            answer = _ask(run)
    if answer == "s":
        with contextlib.suppress(StoreError):
            ask_to_end(context.store, run, "stop")
    return answer == "d"


def _ask(run: str) -> str:
    sys.stderr.write(f"\n{run} goes on. [s]top it, [d]etach from it, [c]ontinue to watch it? (Ctrl+C: stop) ")
    sys.stderr.flush()
    try:
        while True:
            answer = sys.stdin.readline()
            if not answer:
                return "d"
            if answer.strip()[:1].lower() in ("s", "d", "c"):
                return answer.strip()[0].lower()
            sys.stderr.write("s, d or c? ")
            sys.stderr.flush()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return "s"
