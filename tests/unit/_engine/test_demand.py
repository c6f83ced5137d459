"""How many machines a run gets, and which."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from dstack_core._engine import pulse
from dstack_core._engine.advance import FAILED_STARTS, advance
from dstack_core._engine.demand import PATIENCE, missing, requirements
from dstack_core._engine.engine import Engine
from dstack_core._engine.executors import Executors
from dstack_core._engine.limits import Limits
from dstack_core._engine.pulse import Pulses
from dstack_core._engine.remote import DEFAULT
from dstack_core._engine.upkeep import look_after
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import beat, gone, machine_keys, machines, report_key
from dstack_core._ledger.records import Attempt, JobRecord, MachineRecord, RunRecord
from dstack_core._ledger.runs import create_run, write_job, write_plan
from dstack_core._plan.job import PlannedJob, RunPlan
from dstack_core._plugins.registry import Plugins
from dstack_core.codec import dumps
from dstack_core.errors import CapacityError
from dstack_core.models import Cell, JobSpec, Offer, Requirements

NO_EXECUTORS = Executors(Plugins.discover(enabled=False), DEFAULT)
SPOT = Offer("box", "spot", 2.0, 1 << 33, spot=True)


def run_of(store, **wanted):
    """A run of jobs that need nothing but a machine, by what they want of it."""
    jobs = [
        PlannedJob(name, name, "me/x", "bash", JobSpec(("true",), requirements=of), "w", ())
        for name, of in wanted.items()
    ]
    return planned(store, jobs)


def planned(store, jobs):
    plan = write_plan(store, dumps(RunPlan("me/x", jobs[-1].name, "0" * 64, tuple(jobs))))
    draft = RunRecord("", "me/x", "me", jobs[-1].name, plan, time.time(), "local")
    return RunView(store, create_run(store, draft).value.name)


def engine_of(store, box, **limits):
    return Engine(store, box, replace(DEFAULT, limits=Limits(**limits)), NO_EXECUTORS, lambda event: None)


def record(number, offer=SPOT):
    return MachineRecord(f"{number}-m", "run", "box", offer, 0.0, "up")


def work_on(view, job, machine, status="running", times=1):
    attempts = tuple(Attempt(n + 1, machine, 1.0, status) for n in range(times))
    view.note(write_job(view.store, view.jobs.get(job), JobRecord(view.run.name, job, status, attempts)))


def test_a_fan_out_gets_as_many_machines_as_it_fills_and_no_more_than_it_may(store, new_box):
    view, box = run_of(store, **{f"j{n}": Requirements(cpu=2) for n in range(5)}), new_box()
    advance(engine_of(store, box), view)
    assert len(box.up) == 1
    advance(engine_of(store, box, machines=3), view)
    assert len(box.up) == 3
    advance(engine_of(store, box, machines=8), view)
    advance(engine_of(store, box, machines=8), view)
    assert len(box.up) == 5
    assert sorted(m.value.id.partition("-")[0] for m in machines(store, view.run.name)) == ["0", "1", "2", "3", "4"]


def test_what_one_machine_can_do_side_by_side_needs_one(store, new_box):
    view, box = run_of(store, a=Requirements(), b=Requirements(cpu=1)), new_box()
    advance(engine_of(store, box, machines=8), view)
    assert len(box.up) == 1


def test_machines_that_are_busy_have_no_room(store):
    view = run_of(store, a=Requirements(), b=Requirements(cpu=2, interruptible=True))
    live = [record(0)]
    work_on(view, "a", "0-m")
    assert missing(view, live, 1) is None
    assert missing(view, live, None) is None
    assert missing(view, [record(0, Offer("box", "small", 1.0, 1))], None) == Requirements(cpu=2, interruptible=True)
    assert missing(view, live, 2) == Requirements(cpu=2, interruptible=True)
    assert missing(view, [*live, record(1)], 3) is None


def test_cells_that_may_not_run_yet_need_no_machine(store):
    jobs = [
        PlannedJob(f"w[{n}]", "w", "me/x", "bash", JobSpec(("true",), requirements=Requirements(cpu=2)), "w", (),
                   cell=Cell("w", {"n": str(n)}, max_parallel=2))
        for n in range(5)
    ]  # fmt: skip
    view = planned(store, jobs)
    offer = Offer("box", "box", 2.0, 1 << 33)
    assert missing(view, [record(0, offer)], 8) is not None
    assert missing(view, [record(0, offer), record(1, offer)], 8) is None


def test_no_capacity_for_one_more_is_no_error_while_others_work(store, new_box):
    view, box = run_of(store, a=Requirements(cpu=2), b=Requirements(cpu=2)), new_box()
    asked = []

    def launch(offer, launch):
        asked.append(launch.machine)
        if box.up:
            raise CapacityError("none left")
        box.up.add(launch.machine)
        return "handle"

    box.launch = launch
    engine = engine_of(store, box, machines=4)
    for _ in range(5):
        advance(engine, view)
    assert len(box.up) == 1
    assert len(asked) == 2  # it is not asked for again and again
    box.up.clear()
    box.up.add("somebody else's")
    with pytest.raises(CapacityError, match="none left"):
        advance(engine_of(store, box, machines=4), view)


def test_a_job_that_was_interrupted_too_often_gets_a_machine_that_stays(store):
    view = run_of(store, a=Requirements(interruptible=True))
    work_on(view, "a", "0-m", "interrupted", PATIENCE - 1)
    assert missing(view, [record(0)], 4) is None
    work_on(view, "a", "0-m", "interrupted", PATIENCE)
    assert requirements(view, "a") == Requirements()
    assert missing(view, [record(0)], 4) == Requirements()


def test_machines_that_did_something_do_not_count_as_useless(store, new_box):
    """A long pipeline has many machines, one after the other."""
    view, box = run_of(store, a=Requirements()), new_box()
    for number in range(8):
        advance(engine_of(store, box), view)
        (machine,) = box.up
        gone(store, view.run.name, machine, time.time(), peak=1)
        box.up.clear()
        assert not view.finished, number


@pytest.mark.parametrize(
    "said",
    [
        "noise\ndstack: no disk\nmore noise\n",
        "dstack: the runner starts\ndstack: the runner cannot go on: no disk\ndstack: the runner ended with 1\n",
    ],
)
def test_machines_that_say_why_they_cannot_start_end_the_run(store, new_box, said):
    view, box = run_of(store, a=Requirements()), new_box()
    engine = engine_of(store, box)
    for _ in range(FAILED_STARTS):
        advance(engine, view)
        (machine,) = box.up
        store.write(report_key(view.run.name, machine), said.encode())
        box.up.clear()
        box.distant = True
        look_after(engine, view, machine_keys(store, view.run.name))
        box.distant = False  # else it would want a bundle
    advance(engine, view)
    assert view.run.status == "failed"
    assert view.jobs["a"].value.reason == "2 machines ended before their runners came up: no disk"


def test_who_gives_no_sign_of_life_for_its_lease_is_lost_by_the_clock_of_who_looks(store, new_box, monkeypatch):
    view, box = run_of(store, a=Requirements()), new_box()
    advance(engine_of(store, box), view)
    (machine,) = [document.value for document in machines(store, view.run.name)]
    clock = [1000.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: clock[0])
    pulses = Pulses()
    for _ in range(20):  # silent when first seen, whatever its time of creation
        assert not pulses.is_lost(machine, 600)
        beat(store, view.run.name, machine.id)
        (machine,) = [document.value for document in machines(store, view.run.name)]
        clock[0] += 500
    assert not pulses.is_lost(machine, 600)
    clock[0] += 600
    assert not pulses.is_lost(machine, 600)
    clock[0] += 31
    assert pulses.is_lost(machine, 600)
