"""Whether there are machines for the jobs of a plan, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dstack_core._plan.job import REUSE, PlannedJob, RunPlan
from dstack_core.backend import Offers
from dstack_core.errors import CapacityError
from dstack_core.matching import in_words
from dstack_core.models import Requirements


def fit(plan: RunPlan, offers: Callable[[Requirements], Offers]) -> Mapping[Requirements, Offers]:
    """The offers for each distinct `requirements` of the jobs that may run. `offers` is asked once for each.

    Raises:
        CapacityError: no machine is large enough for a job; it names the first such job and why each was rejected.
    """
    known: dict[Requirements, Offers] = {}
    for job in plan.jobs:
        wanted = job.spec.requirements
        if job.decision == REUSE or wanted in known:
            continue
        found = offers(wanted)
        if not found.fitting:
            raise _no_machine(job, found)
        known[wanted] = found
    return known


def describe(wanted: Requirements) -> str:
    """`4 cpu, 16 GB memory, 2 gpu V100`; `any machine` when nothing is asked for."""
    parts = []
    if wanted.cpu is not None:
        parts.append(f"{wanted.cpu:g} cpu")
    if wanted.memory is not None:
        parts.append(f"{in_words(wanted.memory)} memory")
    if wanted.gpu is not None:
        memory = f" with {in_words(wanted.gpu.memory)} each" if wanted.gpu.memory is not None else ""
        parts.append(f"{wanted.gpu.count} gpu{f' {wanted.gpu.name}' if wanted.gpu.name else ''}{memory}")
    if wanted.shm_size is not None:
        parts.append(f"{in_words(wanted.shm_size)} shared memory")
    if wanted.disk is not None:
        parts.append(f"{in_words(wanted.disk)} disk")
    if wanted.interruptible:
        parts.append("interruptible")
    if wanted.max_price is not None:
        parts.append(f"at most {wanted.max_price:g} USD per hour")
    if wanted.instance_types:
        parts.append(f"type {' or '.join(wanted.instance_types)}")
    return ", ".join(parts) or "any machine"


def _no_machine(job: PlannedJob, found: Offers) -> CapacityError:
    rejected = "; ".join(found.rejected) or "the backend offers no machine"
    return CapacityError(
        f"no machine fits {job.name} ({describe(job.spec.requirements)}): {rejected}",
        hint="ask for less in its resources, or run it on another remote",
        where=job.where,
    )
