"""Views of runs some of whose records are damaged: they can be looked at, and come to an end."""

from __future__ import annotations

import json
import time

import pytest

from dstack_core._engine.advance import advance
from dstack_core._engine.engine import Engine
from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import DEFAULT
from dstack_core._engine.view import RunView
from dstack_core._ledger import documents
from dstack_core._ledger.machines import gone, intend, machine_key, machines, register
from dstack_core._ledger.records import Attempt, JobRecord, RunRecord
from dstack_core._ledger.runs import ask_to_end, create_run, job_key, read_job, write_job, write_plan
from dstack_core._plan.job import PlannedJob, RunPlan, Source
from dstack_core._plugins.registry import Plugins
from dstack_core.codec import dumps
from dstack_core.errors import StoreError
from dstack_core.models import JobSpec

NO_EXECUTORS = Executors(Plugins.discover(enabled=False), DEFAULT)


@pytest.fixture
def run(store):
    """A run of `a`, `b` and, when both are done, `c`."""
    sources = {"c": (Source("a", "a"), Source("b", "b"))}
    jobs = tuple(
        PlannedJob(name, name, "me/x", "bash", JobSpec(("true",)), "w", sources.get(name, ())) for name in "abc"
    )
    plan = write_plan(store, dumps(RunPlan("me/x", "c", "0" * 64, jobs)))
    return create_run(store, RunRecord("", "me/x", "me", "c", plan, time.time(), "local")).value.name


@pytest.fixture
def machine(store, run, new_box):
    (offer,) = new_box().offers(None).fitting
    machine = intend(store, run, offer, 0, time.time()).value.id
    register(store, run, machine)
    return machine


def works_on(store, run, job, machine):
    return write_job(store, None, JobRecord(run, job, "running", (Attempt(1, machine, time.time(), "running"),)))


def advanced(store, run, box):
    view = RunView(store, run)
    advance(Engine(store, box, DEFAULT, NO_EXECUTORS, lambda event: None), view)
    return view


def statuses(view):
    return dict(view.progress.status)


GARBAGE = [b"", b"{", b"[]", b"\xff\x00", b'{"job": 3}', b'{"format": "x"}']


@pytest.mark.parametrize("garbage", GARBAGE)
def test_while_its_machine_lives_a_damaged_job_is_shown_and_left(store, run, machine, garbage, new_box):
    works_on(store, run, "b", machine)
    store.write(job_key(run, "a"), garbage)
    view = advanced(store, run, new_box(machine))
    assert statuses(view) == {"a": "damaged", "b": "running", "c": "submitted"}
    assert job_key(run, "a") in str(view.damaged["a"])
    assert store.read(job_key(run, "a")).data == garbage


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(("wish", "others"), [("stop", "stopped"), ("abort", "aborted")])
def test_a_run_with_a_damaged_job_ends_when_it_is_told_to(store, run, machine, wish, others, garbage, new_box):
    works_on(store, run, "b", machine)
    store.write(job_key(run, "a"), garbage)
    ask_to_end(store, run, wish)
    box = new_box()  # the machine died, and what it had started may live
    view = advanced(store, run, box)
    assert box.ended == [machine]
    assert statuses(view) == {"a": "failed", "b": others, "c": others}
    assert (view.run.status, view.damaged) == ("failed", {})
    assert read_job(store, run, "a").value.reason == "its record was damaged"


def test_what_needs_a_damaged_job_is_skipped_when_nobody_can_be_at_work_on_it(store, run, machine, new_box):
    done = Attempt(1, machine, 1.0, "done", 2.0, 0)
    write_job(store, None, JobRecord(run, "b", "done", (done,)))
    store.write(job_key(run, "a"), b"{")
    gone(store, run, machine, time.time())
    view = advanced(store, run, new_box())
    assert statuses(view) == {"a": "failed", "b": "done", "c": "skipped"}
    assert (view.run.status, view.run.exit_code) == ("failed", 1)


def test_whoever_knows_that_a_job_is_done_puts_its_record_back(store, run, machine):
    record = JobRecord(run, "a", "done", (Attempt(1, machine, 1.0, "done", 2.0, 0),))
    write_job(store, None, record)
    view = RunView(store, run)
    store.write(job_key(run, "a"), b"{")
    view.refresh()
    assert (statuses(view)["a"], view.damaged) == ("done", {})
    assert read_job(store, run, "a").value == record


def test_a_record_that_came_right_again(store, run, machine):
    good = works_on(store, run, "a", machine)
    data = store.read(good.key).data
    store.write(good.key, b"{")
    view = RunView(store, run)
    store.write(good.key, data)
    assert view.refresh() == ["a"]
    assert (statuses(view)["a"], view.damaged) == ("running", {})


def test_what_only_a_newer_dstack_can_read_is_never_overwritten(store, run):
    data = json.dumps({"format": documents.FORMAT + 1, "job": 3}).encode()
    store.write(job_key(run, "a"), data)
    with pytest.raises(StoreError, match="newer dstack"):
        RunView(store, run)
    assert store.read(job_key(run, "a")).data == data


def test_of_a_damaged_machine_its_jobs_still_know_the_name(store, run, machine, new_box):
    works_on(store, run, "a", machine)
    store.write(machine_key(run, machine), b"{")
    box = new_box()
    view = advanced(store, run, box)
    assert box.ended == [machine]
    assert view.jobs["a"].value.status == "interrupted"
    assert next((found.value.id, found.value.status) for found in machines(store, run)) == (machine, "gone")


def test_a_damaged_machine_that_nobody_knows_is_passed_over(store, run, machine, caplog, new_box):
    store.write(machine_key(run, machine), b"{")
    assert list(machines(store, run)) == []
    assert machine_key(run, machine) in caplog.text
    ask_to_end(store, run, "stop")
    assert advanced(store, run, new_box()).run.status == "stopped"
