"""How a followed run is shown on a terminal: its output scrolls by, and below it stand the jobs that run."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from typing import Final

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dstack_core._cli import words
from dstack_core._cli.doors import Address
from dstack_core._cli.logtext import clean
from dstack_core._cli.show import Lines, attempt_words, job_line, next_try, prefix_of, run_line
from dstack_core._cli.starting import Starting
from dstack_core._cli.summary import Took, cells, gained, took, where
from dstack_core._content.logs import LogEntry
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import CLAIMED, WAITING, JobRecord

STYLES: Final = {
    "done": "green",
    "reused": "cyan",
    "failed": "bold red",
    "skipped": "dim",
    "interrupted": "yellow",
    "stopped": "yellow",
    "aborted": "yellow",
    "submitted": "yellow",
}
SIGNS: Final = {"done": "✓", "reused": "✓", "failed": "✗", "skipped": "-"}
MOST_JOBS: Final = 8
"""Jobs shown as running, at most; the rest is a number."""
AT_ONCE: Final = 1 << 20
"""Characters of output that wait for the next look, at most."""
BESIDE: Final = 4096
"""Bytes of an unfinished line that are looked at for what stands beside its job."""

_COLOURED: Final = re.compile(r"\x1b[^\n]*")
_COLOUR: Final = re.compile(r"\x1b\[[^m]*m")


class LivePresenter:
    """For a terminal. Progress bars that redraw their line with a carriage return are redrawn beside the job."""

    def __init__(self, jobs: list[str]) -> None:
        self._jobs = jobs
        self._lines: dict[str, Lines] = {}
        self._waiting: list[str] = []
        self._waiting_size = 0
        self._console = Console(highlight=False, soft_wrap=True, no_color=bool(os.environ.get("NO_COLOR")))
        self._live = Live(console=self._console, refresh_per_second=10, transient=True)
        self._spinner = Spinner("dots")
        self._starting = Starting()

    def job(self, record: JobRecord) -> None:
        """A line above what runs, when there is something to tell."""
        line = job_line(record)
        if line:
            self._flush()
            sign = SIGNS.get(record.status, "!")
            self._console.print(Text(f"{sign} {line}", style=STYLES.get(record.status, "")))
            for warning in record.warnings:
                self._console.print(Text(f"  warning: {warning}", style="yellow"))

    def log(self, job: str, entry: LogEntry) -> None:
        """Scroll by, with all that came at the same look."""
        lines = self._lines.setdefault(job, Lines(b""))
        if entry.stream == "gap":
            self.warn(f"{job}: some of its output is missing here")
            return
        data = b"".join(lines.flush() if entry.stream == "x" else lines.add(entry.stream, entry.data))
        if data:
            self._waiting.append(self._shown(job, data))
            self._waiting_size += len(data)
        if self._waiting_size > AT_ONCE:
            self._flush()

    def served(self, address: Address) -> None:
        """A line above what runs, in one piece whatever the terminal's width: it is to be clicked."""
        self._flush()
        line = f"→ {address.title} answers at {address.opened}"
        self._console.print(Text(line, style="bold cyan"), soft_wrap=True)

    def warn(self, message: str) -> None:
        """A line of its own."""
        self._flush()
        self._console.print(Text(f"! {message}", style="yellow"))

    def tick(self, view: RunView) -> None:
        """What runs now."""
        self._live.start()
        now = time.time()
        records = [document.value for document in view.jobs.values()]
        running = [job for job in records if job.status in CLAIMED or (job.not_before > now and job.status in WAITING)]
        self._live.update(self._running(view, running))
        self._flush()

    def end(self, view: RunView) -> None:
        """What it came to, and the last line."""
        self.close()
        style = f"bold {STYLES.get(view.run.status, '')}".strip()
        if not view.finished:
            self._console.print(Text(run_line(view.run), style=style))
            return
        jobs, more = took(view)
        if jobs:
            self._console.print(_times(jobs, more))
        self._console.print(Text.assemble((run_line(view.run), style), gained(view)))
        if command := where(view):
            self._console.print(Text.assemble("artifacts: ", (command, "bold")))

    def close(self) -> None:
        """Give the terminal back as it was."""
        self._flush()
        self._live.stop()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Let the terminal go while a question stands there."""
        self.close()
        yield  # the next look starts it again

    def _flush(self) -> None:
        """Let what scrolls by do so: at one stroke, because what stands below it is redrawn each time."""
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        if waiting:
            self._console.print(_Verbatim("".join(waiting)))

    def _shown(self, job: str, data: bytes) -> str:
        """Whole lines as they will stand there: their last states, colours at most, the job's name before each."""
        text = _last_states(data)
        coloured = self._console.color_system is not None
        if "\x1b" in text:
            plain = not coloured or self._console.no_color
            text = _COLOUR.sub("", text) if plain else _COLOURED.sub("\\g<0>\x1b[0m", text)
        prefix = prefix_of(job, self._jobs)
        if not prefix:
            return text
        if coloured:
            prefix = f"\x1b[2m{prefix}\x1b[0m"
        return prefix + text[:-1].replace("\n", f"\n{prefix}") + "\n"

    def _running(self, view: RunView, running: list[JobRecord]) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        now = time.time()
        for record in running[:MOST_JOBS]:
            retry = view.plan.job(record.job).spec.retry
            if record.status in WAITING:
                attempt = attempt_words(record, retry, len(record.attempts) + 1)
                table.add_row(self._spinner, Text(record.job, style="bold"), Text(attempt), Text(), next_try(record))
                continue
            waiting = self._lines[record.job].tail(BESIDE) if record.job in self._lines else b""
            took = words.duration(now - record.attempts[-1].started)
            status = ", ".join(filter(None, (record.status, attempt_words(record, retry))))
            table.add_row(
                self._spinner,
                Text(record.job, style="bold"),
                Text(status, style="cyan"),
                Text(took, style="dim"),
                _bar(record) or Text.from_ansi(_last_states(waiting), no_wrap=True, overflow="ellipsis"),
            )
        todo = sum(1 for _ in view.progress.waiting)
        more = [f"{len(running) - MOST_JOBS} more running"] if len(running) > MOST_JOBS else []
        more += [f"{words.plural(todo, 'job')} to go"] if todo else []
        if not running and not more:
            return Text("")
        if not running:
            starting = self._starting.line(view) or ""
            table.add_row(self._spinner, Text(view.status(), style="cyan"), Text(starting, style="dim"))
        return Group(table, Text("  " + ", ".join(more), style="dim")) if more else table


def _times(jobs: list[Took], more: int) -> RenderableType:
    """How long the jobs took."""
    titles, *lines = cells(jobs)
    table = Table(*titles, box=None, pad_edge=False, header_style="dim")
    for column in table.columns[2:]:
        column.justify = "right"
    for name, status, *times in lines:
        table.add_row(Text(name), Text(status, style=STYLES.get(status, "")), *times)
    table.columns[0].overflow = "fold"
    return Group("", table, *([Text(f"and {more} more, which took less", style="dim")] if more else []))


def _bar(record: JobRecord) -> RenderableType | None:
    """How far a transfer is, as a bar and in words; None when nothing is transferred for longer than a moment."""
    if len(record.transfer) != 2 or not record.transfer[1]:
        return None
    done, total = record.transfer
    in_words = Text(f"{words.size(done)} of {words.size(total)}", style="dim")
    return Columns([ProgressBar(total=total, completed=done, width=30), in_words])


class _Verbatim:
    """Text that is not looked at on its way to the terminal: rich takes a while for each line of a `Text`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield Segment(self._text)


def _last_states(data: bytes) -> str:
    """Lines as a terminal would show them after their carriage returns, without control characters but colours."""
    data = clean(data)
    if b"\r" in data:
        data = b"\n".join(line.rstrip(b"\r").rpartition(b"\r")[2] for line in data.split(b"\n"))
    return data.decode("utf-8", "replace")
