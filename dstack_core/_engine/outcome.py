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
LONGEST_WAIT: Final = 3600.0
"""Seconds to which a wait between attempts is doubled at most; one that is longer from the start stays as it is."""


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
    """What becomes of the job: its status, why, and when it may be tried again (0.0: at once)."""

    status: str
    reason: str | None
    not_before: float = 0.0


def after(ending: Ending, attempts: Sequence[Attempt], retry: Retry) -> Next:
    """The job's next status. `attempts` includes the one that ended, with its status set.

    Interruptions and failures are counted apart: a lost machine never uses up a retry.
    """
    times = sum(attempt.status == ending.status for attempt in attempts)
    if ending.status == "interrupted":
        if "interrupted" not in retry.on:
            return Next("failed", f"{ending.reason}, and `retry` is not for that")
        if times >= INTERRUPTIONS:
            return Next("failed", f"its machine was lost {times} times")
        return Next("interrupted", ending.reason, _not_before(retry, times))
    if ending.status == "failed" and "failed" in retry.on and times < retry.attempts:
        why = f"attempt {times} of {retry.attempts} failed: {ending.reason}"
        return Next("submitted", why, _not_before(retry, times))
    return Next(ending.status, ending.reason)


def attempts_allowed(attempts: Sequence[Attempt], retry: Retry) -> int | None:
    """How many attempts there may be in all, those that were lost with their machine included; None: only one."""
    if retry.attempts == 1 or "failed" not in retry.on:
        return None
    return retry.attempts + sum(attempt.status == "interrupted" for attempt in attempts)


def interrupted(job: JobRecord, reason: str, retry: Retry) -> JobRecord:
    """The record of a claimed job whose runner is no more."""
    last = replace(job.attempts[-1], status="interrupted", finished=time.time(), reason=reason)
    attempts = (*job.attempts[:-1], last)
    following = after(Ending("interrupted", reason=reason), attempts, retry)
    return replace(
        job,
        status=following.status,
        reason=following.reason,
        not_before=following.not_before,
        ports=(),
        transfer=(),
        attempts=attempts,
    )


def _not_before(retry: Retry, times: int) -> float:
    if not retry.backoff:
        return 0.0
    return time.time() + min(retry.backoff * 2.0 ** (times - 1), max(retry.backoff, LONGEST_WAIT))
