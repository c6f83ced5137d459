"""Machines for the jobs of a plan, or why there are none."""

from dataclasses import replace

import pytest

from dstack_core._plan.fit import describe, fit
from dstack_core._plan.job import PlannedJob, RunPlan
from dstack_core.backend import Offers
from dstack_core.errors import CapacityError
from dstack_core.models import Gpu, JobSpec, Offer, Requirements

SMALL, LARGE = Requirements(cpu=1), Requirements(cpu=64, memory=16_000_000_000, gpu=Gpu(2, "V100", 8 * 10**9))


def plan(*wanted):
    jobs = (
        PlannedJob(f"j{n}", "w", "r", "bash", JobSpec(("true",), requirements=w), "x", where=f"f:{n}")
        for n, w in enumerate(wanted)
    )
    return RunPlan("r", "j0", "s", tuple(jobs))


def test_asked_once_for_each_distinct_requirements():
    asked = []

    def offers(wanted):
        asked.append(wanted)
        return Offers((Offer("local", "here", 2, 0), Offer("local", "worse", 2, 0)))

    known = fit(plan(SMALL, LARGE, SMALL), offers)
    assert asked == [SMALL, LARGE]
    assert {found.fitting[0].name for found in known.values()} == {"here"}


def test_no_machine():
    with pytest.raises(CapacityError) as caught:
        fit(plan(SMALL, LARGE), lambda w: Offers((Offer("l", "h", 2, 0),) if w == SMALL else (), ("here: 2 cpu",)))
    assert str(caught.value) == (
        "f:1: no machine fits j1 (64 cpu, 16 GB memory, 2 gpu V100 with 8 GB each): here: 2 cpu"
    )


def test_reused_jobs_need_no_machine():
    small = plan(LARGE)
    reused = replace(small, jobs=(replace(small.jobs[0], decision="reuse"),))
    assert fit(reused, lambda w: Offers()) == {}


def test_describe():
    assert describe(Requirements()) == "any machine"
    assert describe(Requirements(cpu=0.5, shm_size=500_000_000, interruptible=True)) == (
        "0.5 cpu, 500 MB shared memory, interruptible"
    )
    assert describe(Requirements(disk=9 * 10**9, max_price=1.5, instance_types=("a1.x", "b2.y"))) == (
        "9 GB disk, at most 1.5 USD per hour, type a1.x or b2.y"
    )
    assert describe(Requirements(memory=10, gpu=Gpu())) == "10 B memory, 1 gpu"
