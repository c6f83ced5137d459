"""What planning produces: jobs, and the plan of a run. Plain dataclasses; JSON by `dstack_core.codec`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dstack_core._ledger.traces import Input, Watched
from dstack_core.models import Artifact, Cell, JobSpec

RUN: Final = "run"
REUSE: Final = "reuse"
LATER: Final = "later"
"""Decisions. `later`: some dep of the job runs first; whoever finishes that one decides (`reuse.decide`)."""


@dataclass(frozen=True)
class Source:
    """One dep of a job, in the order of the workflow file.

    Attributes:
        dep: as the workflow file writes it: `digits-data`, `:tag`, `owner/repo/name`.
        job: the job of this run whose artifacts it will be; None when `artifacts` are known already.
        remote: the remote that has them; None: the run's own store had them when it was planned.
    """

    dep: str
    job: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    remote: str | None = None


@dataclass(frozen=True)
class Reused:
    """The finished job whose artifacts are taken over.

    Attributes:
        read: files that it was seen to use; None: all may count.
        remote: the remote that has the artifacts; None: the run's own store had them when it was planned.
    """

    run: str
    job: str
    user: str
    finished: float
    duration: float
    artifacts: tuple[Artifact, ...] = ()
    read: int | None = None
    remote: str | None = None


@dataclass(frozen=True)
class PlannedJob:
    """One job of a run.

    Attributes:
        name: unique in the run; for a cell of a matrix also the name of its workflow, as if it were written out.
        cell: which cell it is, if it is one.
        watched: key of `RunPlan.watched`: the repository paths that it depends on.
        target: the run was asked for this one; the others are there because of it.
        ad_hoc: made on the command line, not in a workflow file.
        decision: `run`, `reuse` or `later`.
        reason: of the decision, in words.
    """

    name: str
    workflow: str
    repo: str
    provider: str
    spec: JobSpec
    watched: str
    sources: tuple[Source, ...] = ()
    target: bool = False
    ad_hoc: bool = False
    forced: bool = False
    decision: str = RUN
    reason: str = ""
    reused: Reused | None = None
    where: str | None = None
    cell: Cell | None = None

    @property
    def deps(self) -> tuple[str, ...]:
        """Names of the jobs of this run that must succeed first, each once."""
        return tuple(dict.fromkeys(source.job for source in self.sources if source.job is not None))

    def inputs(self, done: Mapping[str, tuple[Artifact, ...]]) -> tuple[Input, ...]:
        """What the job takes from each dep, given the artifacts of the jobs in `deps`, by job name."""
        return tuple(
            Input(source.dep, source.artifacts if source.job is None else tuple(done[source.job]))
            for source in self.sources
        )


@dataclass(frozen=True)
class RunPlan:
    """Everything that a run will do, decided as far as it can be before anything runs.

    Attributes:
        target: name of the workflow that was asked for.
        jobs: every job after those that it depends on.
        snapshot: digest of the code snapshot's tree.
        watched: what jobs depend on in the repository; many jobs share one entry.
        warnings: for people, e.g. an `inputs` glob that matches nothing.
    """

    repo: str
    target: str
    snapshot: str
    jobs: tuple[PlannedJob, ...]
    watched: Mapping[str, Watched] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    format: int = 1

    @property
    def targets(self) -> tuple[PlannedJob, ...]:
        """The job that was asked for, or all cells of the matrix that was."""
        cells = tuple(job for job in self.jobs if job.cell and job.cell.workflow == self.target)
        return cells or (self.job(self.target),)

    def job(self, name: str) -> PlannedJob:
        """The job of that name. Raises KeyError."""
        return self._by_name[name]

    @property
    def needed(self) -> frozenset[str]:
        """Names of the jobs whose artifacts somebody asks for: the targets, and what the jobs that run take."""
        taken = {dep for job in self.jobs if job.decision != REUSE for dep in job.deps}
        return frozenset({*taken, *(job.name for job in self.targets)})

    @functools.cached_property
    def _by_name(self) -> Mapping[str, PlannedJob]:
        return {job.name: job for job in self.jobs}
