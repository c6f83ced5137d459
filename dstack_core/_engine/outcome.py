"""What the end of an attempt means for its job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from dstack_core._ledger.records import Attempt, JobRecord
from dstack_core.models import Retry

INTERRUPTIONS: Final = 10
"""After so many lost machines a job fails, rather than cost money for ever."""


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        status: `done`, `failed`, `stopped`, `aborted` or `interrupted`.
        exit_code: the user's, when the job's commands came to an end.
    """

    status: str
    exit_code: int | None = None
    reason: str | None = None


WISHES: Final = {
    "stop": Ending("stopped"),
    "abort": Ending("aborted"),
    "interrupt": Ending("interrupted", reason="its machine was told to end"),
}
"""How an attempt ends that somebody wishes to end, by `RunRecord.desired`, or by what happens to the machine."""


@dataclass(frozen=True)
class Next:
    """What becomes of the job: its status, why, and when it may be tried again."""

    status: str
    reason: str | None
    not_before: float = 0.0


def after(ending: Ending, attempts: Sequence[Attempt], retry: Retry) -> Next:
    """The job's next status. `attempts` includes the one that ended, with its status set.

    Interruptions and failures are counted apart: a lost machine never uses up a retry.
    """
    if ending.status == "interrupted":
        lost = sum(a.status == "interrupted" for a in attempts)
        if lost >= INTERRUPTIONS:
            return Next("failed", f"its machine was lost {lost} times")
        return Next("interrupted", ending.reason)
    if ending.status == "failed" and "failed" in retry.on:
        failures = sum(a.status == "failed" for a in attempts)
        if failures < retry.attempts:
            wait = retry.backoff * 2 ** (failures - 1)
            return Next(
                "submitted",
                f"attempt {failures} of {retry.attempts} failed: {ending.reason}",
                time.time() + wait if wait else 0.0,
            )
    return Next(ending.status, ending.reason)


def interrupted(job: JobRecord, reason: str) -> JobRecord:
    """The record of a claimed job whose runner is no more."""
    last = replace(job.attempts[-1], status="interrupted", finished=time.time(), reason=reason)
    attempts = (*job.attempts[:-1], last)
    following = after(Ending("interrupted", reason=reason), attempts, Retry())
    return replace(job, status=following.status, reason=following.reason, ports=(), transfer=(), attempts=attempts)
