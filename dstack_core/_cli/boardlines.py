"""How the watched runs are laid out on a screen of any size: one line each at least, as many as there is room for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from rich.text import Text

from dstack_core._cli import words
from dstack_core._cli.board import Board, Watched
from dstack_core._cli.live import SIGNS, STYLES
from dstack_core._cli.render import one_line
from dstack_core._cli.show import attempt_words, next_try, run_line
from dstack_core._ledger.records import FINISHED, SUCCESS, JobRecord, RunRecord
from dstack_core._plan.reason import listed

FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
MOST_WAITING: Final = 5
"""Waiting jobs of a run that are shown by name."""
BAR: Final = 20
"""Characters of a transfer's bar."""


class Line(NamedTuple):
    """A job below its run. `kind` is what it is counted as when there is no room for it."""

    kind: str
    sign: str
    name: str
    style: str
    status: str
    more: str = ""


def screen(board: Board, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells."""
    frame = FRAMES[int(time.time() * 5) % len(FRAMES)]
    below = [*_problems(board), *map(_ended, board.ended)]
    if not board.runs and not below:
        below = [Text("No runs yet. Start one with: dstack run WORKFLOW")]
    # What is finished gets the room that the active runs leave, and a quarter of the screen in any case.
    least = min(len(below), max(1, height // 4))
    lines = list(_runs(board.runs, width, height - 1 - least, frame))
    room = max(1, height - 1 - len(lines))
    if len(below) > room:
        below = [*below[: room - 1], Text(f"… {len(below) - room + 1} more", style="dim")]
    shown = [*lines, *below, Text("Ctrl+C leaves; the runs go on.", style="dim")][:height]
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return shown


def _runs(runs: Sequence[Watched], width: int, height: int, frame: str) -> Iterator[Text]:
    left = height
    for number, watched in enumerate(runs):
        after = len(runs) - number - 1
        if left < 2 and after:
            yield Text(f"… {after + 1} more runs", style="dim")
            return
        room = max(1, left - after if after < left // 2 else left // (after + 1))
        lines = list(islice(_run(watched, width, room, frame), room))
        left -= len(lines)
        yield from lines


def _run(watched: Watched, width: int, room: int, frame: str) -> Iterator[Text]:
    run, total = watched.run, sum(watched.counts.values())
    ended = sum(watched.counts[status] for status in FINISHED)
    status = watched.view.status()
    head = Text.assemble((run.name, "bold"), f"  {one_line(run.workflow)}  ", (status, STYLES.get(status, "cyan")))
    head.append(f"  {words.duration(round((run.finished or time.time()) - run.submitted))}", "dim")
    head.append(f"  {ended} of {words.plural(total, 'job')}{f'  :{run.tag}' if run.tag else ''}", "dim")
    yield head
    lines = [line._replace(name=one_line(line.name), more=one_line(line.more)) for line in _jobs(watched, frame)]
    fold = _fold(watched)
    kinds = Counter(line.kind for line in lines)
    waits = watched.counts["submitted"] + watched.counts["interrupted"] - kinds["waiting"] - kinds["retrying"]
    shown, hidden = _fit(lines, room - 1 - bool(fold), waits)
    rows = [_row(line, width, max((len(line.name) for line in shown), default=0)) for line in shown]
    if fold:
        rows.insert(0, fold)
    if any(hidden.values()):
        rows.append(Text("… " + ", ".join(f"{n} more {kind}" for kind, n in hidden.items() if n > 0), style="dim"))
    for number, row in enumerate(rows, 1):
        yield Text.assemble(("└─ " if number == len(rows) else "├─ ", "dim"), row)


def _fit(lines: list[Line], room: int, waits: int) -> tuple[list[Line], Counter[str]]:
    """Those for which there is room, and how many of each kind there are besides; `waits` more wait, in any case."""
    some = max(1, room // 4)  # failures are worth knowing, and must not hide what goes on
    failures = [line for line in lines if line.kind == "failed"]
    order = [*failures[:some], *(line for line in lines if line.kind != "failed"), *failures[some:]]
    kept = order if len(order) + bool(waits) <= room else order[: max(0, room - 1)]
    return kept, Counter(line.kind for line in order[len(kept) :]) + Counter(waiting=waits)


def _jobs(watched: Watched, frame: str) -> Iterator[Line]:
    now, plan = time.time(), watched.view.plan
    for job in watched.failed:
        yield Line("failed", "✗", job.job, "bold red", job.status, job.reason or "")
    for job in watched.working:
        took = words.duration(round(now - job.attempts[-1].started))
        attempt = attempt_words(job, plan.job(job.job).spec.retry)
        more = ", ".join(filter(None, (attempt, _bar(job) or watched.said.get(job.job, ""))))
        yield Line("running", frame, job.job, "cyan", f"{job.status:<11} {took:>8}", more)
    for job in watched.retrying:
        attempt = attempt_words(job, plan.job(job.job).spec.retry, len(job.attempts) + 1)
        status = ", ".join(filter(None, (attempt, next_try(job))))
        yield Line("retrying", "↻", job.job, "yellow", status, job.attempts[-1].reason or "")
    yield from islice(_waiting(watched), MOST_WAITING)


def _waiting(watched: Watched) -> Iterator[Line]:
    """Jobs that nobody has begun, and for whom they wait."""
    status = watched.view.progress.status
    for job in watched.view.plan.jobs:
        document = watched.view.jobs.get(job.name)
        if status[job.name] != "submitted" or (document and document.value.attempts):
            continue
        missing = [dep for dep in job.deps if status[dep] not in SUCCESS]
        most = job.cell.max_parallel if job.cell else None
        turn = f"its turn: {most} at once" if most else "room on a machine"
        yield Line("waiting", "·", job.name, "dim", f"waits for {listed(missing) if missing else turn}")


def _fold(watched: Watched) -> Text | None:
    """All that ended well, or never began, in one line."""
    kinds = ("done", "reused", "skipped", "stopped", "aborted")
    parts = [f"{watched.counts[kind]} {kind}" for kind in kinds if watched.counts[kind]]
    return Text(f"✓ {', '.join(parts)}", style="green") if parts else None


def _row(line: Line, width: int, longest: int) -> Text:
    name = min(longest, max(10, width * 2 // 5))
    row = Text.assemble(
        (line.sign, line.style), " ", (_short(line.name, name).ljust(name), "bold" * (line.style != "dim"))
    )
    row.append(f"  {line.status}", line.style)
    row.append(f"  {line.more}" if line.more else "", "dim")
    row.truncate(width - 3, overflow="ellipsis")
    return row


def _short(name: str, width: int) -> str:
    """Cut in the middle: names of cells begin alike, and end in what tells them apart."""
    if len(name) <= width:
        return name
    head = (width - 1) // 3
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def _bar(job: JobRecord) -> str:
    if len(job.transfer) != 2 or not job.transfer[1]:
        return ""
    done, total = job.transfer
    full = min(BAR, BAR * done // total)
    return f"{'━' * full}{'─' * (BAR - full)} {words.size(done)} of {words.size(total)}"


def _ended(run: RunRecord) -> Text:
    sign = SIGNS.get(run.status, "!")
    return Text(f"{sign} {run_line(run)}  {one_line(run.workflow)}", style=STYLES.get(run.status, ""))


def _problems(board: Board) -> Iterator[Text]:
    return (Text(f"! {' '.join(problem.split())}", style="yellow") for problem in board.problems)
