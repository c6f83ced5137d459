"""What a job that succeeded leaves behind for later plans. Apart from `reuse`, which a runner seldom needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dstack_core._ledger import traces
from dstack_core._ledger.traces import Input, Trace, Watched
from dstack_core._plan.job import PlannedJob, RunPlan
from dstack_core._plan.key import base_key, definition
from dstack_core.artifact_store import ArtifactStore
from dstack_core.models import Artifact


def trace_of(
    plan: RunPlan,
    job: PlannedJob,
    inputs: Sequence[Input],
    artifacts: Sequence[Artifact],
    *,
    run: str,
    user: str,
    finished: float,
    duration: float,
    watched: Watched | None = None,
) -> Trace:
    """The trace to record (`traces.record`) when the job succeeded and its artifacts are stored.

    `watched`: what was learned of the job; else it is what the plan says.
    """
    defined = definition(job)
    return Trace(
        repo=job.repo,
        workflow=job.workflow,
        key=base_key(defined, inputs),
        definition=defined,
        inputs=tuple(inputs),
        watched=watched or plan.watched[job.watched],
        snapshot=plan.snapshot,
        artifacts=tuple(artifacts),
        run=run,
        job=job.name,
        user=user,
        finished=finished,
        duration=duration,
        ad_hoc=job.ad_hoc,
    )


def find_trace(
    store: ArtifactStore, job: PlannedJob, done: Mapping[str, tuple[Artifact, ...]], run: str, by_job: str
) -> Trace | None:
    """The trace that the job `by_job` of `run` left behind, being the same job as `job`; or None.

    `done`: artifacts of the jobs that are done, by name.
    """
    if any(dep not in done for dep in job.deps):
        return None
    key = base_key(definition(job), job.inputs(done))
    return traces.of_job(store, job.repo, job.workflow, key, run, by_job)
