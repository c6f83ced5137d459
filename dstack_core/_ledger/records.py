"""What the ledger keeps: runs, jobs, machines, tags. Plain dataclasses; their JSON is in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dstack_core.models import Artifact, Offer

SUCCESS: Final = frozenset({"done", "reused"})
FINISHED: Final = SUCCESS | {"failed", "stopped", "aborted", "skipped"}
"""Statuses that never change again. Everything else is on its way to one of them."""

WAITING: Final = frozenset({"submitted", "interrupted"})
"""Statuses of a job that a runner may claim, once what it needs is there."""

CLAIMED: Final = frozenset({"downloading", "running", "uploading", "stopping", "aborting"})
"""Statuses of a job that a machine works on."""


@dataclass(frozen=True)
class RunRecord:
    """One run. Written first, then changed only to ask for its end (`desired`), to record its end, and to tell its
    machines that somebody wants to come to them.

    Attributes:
        plan: digest of the plan's object: jobs, specs, snapshot; it never changes.
        status: `submitted` until the run's last status is known; what lies between is read off its jobs.
        desired: None, `stop` or `abort`.
        deleted: a removed run leaves its record behind, so that its name is never given again.
        remote: name of the remote that it runs on.
        cost: USD that its machines had cost when it ended, by their offers' prices; and since then by waiting for
            another run.
        budget: USD after which it is stopped; None: never.
        reason: why it was told to end, if it was not a user who did.
        callers: how often a key was left for its machines.
    """

    name: str
    repo: str
    user: str
    workflow: str
    plan: str
    submitted: float
    remote: str
    status: str = "submitted"
    desired: str | None = None
    finished: float | None = None
    exit_code: int | None = None
    tag: str | None = None
    branch: str | None = None
    commit: str | None = None
    changes: str | None = None
    deleted: bool = False
    cost: float = 0.0
    budget: float | None = None
    reason: str | None = None
    callers: int = 0


@dataclass(frozen=True)
class Attempt:
    """One try at a job. `exit_code` is the user's; None when none was reached. `image_digest`: what it ran in.

    `phases`: seconds that it took to `prepare` code and inputs, to make the `environment`, to `run`, and to `save`.
    """

    number: int
    machine: str
    started: float
    status: str
    finished: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    image_digest: str | None = None


@dataclass(frozen=True)
class JobRecord:
    """One job of a run, from its first claim on. A job without a record is `submitted` (or `reused` by the plan).

    Attributes:
        status: see the table in docs/reference/statuses.md.
        artifacts: what it left behind, complete when the status is a finished one.
        reason: why it has this status, in words, when that is not obvious.
        reused_from: `RUN/JOB` whose artifacts it took over.
        saved: seconds that it took to make what it took over.
        ports: of the machine, at which it is reached while it runs.
        edits: digest of the code with the changes that people made while it ran; None: none, as far as is known.
        transfer: bytes done and bytes in all, while it downloads or uploads for longer than a moment.
        not_before: earliest time of the next attempt.
    """

    run: str
    job: str
    status: str
    attempts: tuple[Attempt, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    reason: str | None = None
    reused_from: str | None = None
    saved: float = 0.0
    warnings: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    edits: str | None = None
    transfer: tuple[int, ...] = ()
    not_before: float = 0.0

    @property
    def machine(self) -> str | None:
        """The machine that works on it now."""
        return self.attempts[-1].machine if self.status in CLAIMED and self.attempts else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last attempt."""
        return self.attempts[-1].exit_code if self.attempts else None


@dataclass(frozen=True)
class MachineRecord:
    """One acquired offer. Written before the call that may create the machine.

    Attributes:
        id: random; also the idempotency token of the call that made it, and its label if it was made for this run.
        status: `intent` (may exist), `up` (its runner registered), `gone`.
        handle: how the backend knows it, when the call that made it returned.
        peak_memory: bytes that its runner had at most; None when it did not end by itself.
        beats: how often its runner gave a sign of life, on a machine that is another computer.
        reason: why it ended without a runner, if it could tell.
        born: the id with which it was launched, if that was for another run, after which it waited for the next.
        waited: seconds after `ended` for which it was kept for another run, as its own run's remote asks; they count
            for this run.
    """

    id: str
    run: str
    backend: str
    offer: Offer
    created: float
    status: str = "intent"
    handle: str | None = None
    ended: float | None = None
    peak_memory: int | None = None
    beats: int = 0
    reason: str | None = None
    born: str | None = None
    waited: float = 0.0

    @property
    def label(self) -> str:
        """What it carries as a label, and its backend finds it by."""
        return self.born or self.id

    def cost(self, now: float) -> float:
        """USD that it has cost until now, by its offer's price."""
        return self.offer.price * (max((self.ended or now) - self.created, 0.0) + self.waited) / 3600


@dataclass(frozen=True)
class TagRecord:
    """A name for artifacts. `run` is None for uploaded folders."""

    name: str
    repo: str
    user: str
    created: float
    artifacts: tuple[Artifact, ...]
    run: str | None = None
    workflow: str | None = None
