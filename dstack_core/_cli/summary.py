"""What a finished run came to: the time of its jobs by phase, what was reused, and where the artifacts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from dstack_core._cli import words
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import JobRecord
from dstack_core._plan.job import REUSE

PHASES: Final = ("prepare", "environment", "run", "save")
"""Of an attempt, in their order: code and inputs, Python and packages, the commands, artifacts."""
MOST: Final = 12
"""Jobs that are listed."""


class Took(NamedTuple):
    """The time that a job took, in seconds: in all, waits between attempts included, and each phase of all attempts."""

    job: str
    status: str
    total: float
    phases: Mapping[str, float]


def took(view: RunView) -> tuple[list[Took], int]:
    """The jobs that were begun, in the plan's order, and how many more there were: those that failed come first, then
    those that took the most."""
    found = [_took(document.value) for document in view.jobs.values() if document.value.attempts]
    longest = sorted(found, key=lambda one: (one.status != "failed", -one.total))[:MOST]
    kept = {one.job: one for one in longest}
    return [kept[job.name] for job in view.plan.jobs if job.name in kept], len(found) - len(kept)


def gained(view: RunView) -> str:
    """`, cost 0.012 USD, reused 2 jobs, saved 3 min 12 s`; nothing if nothing was."""
    cost = f", cost {words.dollars(view.run.cost)}" if view.run.cost else ""
    seconds = [job.reused.duration for job in view.plan.jobs if job.reused and job.decision == REUSE]
    seconds += [document.value.saved for document in view.jobs.values() if document.value.status == "reused"]
    saved = f", reused {words.plural(len(seconds), 'job')}, saved {words.duration(sum(seconds))}" if seconds else ""
    return cost + saved


def where(view: RunView) -> str | None:
    """The command that lists what was made; None if nothing was."""
    if any(view.artifacts(job.name) for job in view.plan.targets):
        return f"dstack ls {view.run.name}"
    return None


def _took(job: JobRecord) -> Took:
    first, last = job.attempts[0], job.attempts[-1]
    phases = {name: sum(attempt.phases.get(name, 0.0) for attempt in job.attempts) for name in PHASES}
    return Took(job.job, job.status, (last.finished or last.started) - first.started, phases)


def cells(jobs: Sequence[Took]) -> list[tuple[str, ...]]:
    """The table: its titles, then a line for each job; phases that no job had are left out."""
    phases = [name for name in PHASES if any(one.phases[name] for one in jobs)]
    lines = [("job", "status", *phases, "in all")]
    for one in jobs:
        times = (words.duration(one.phases[name]) if one.phases[name] else "" for name in phases)
        lines.append((one.job, one.status, *times, words.duration(one.total)))
    return lines
