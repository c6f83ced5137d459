"""What several callers at once make of a run: nothing finished is overwritten, one machine is launched."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from dstack_core._engine.advance import LAUNCHES, advance
from dstack_core._engine.engine import Engine
from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import DEFAULT
from dstack_core._engine.settle import settle
from dstack_core._engine.view import RunView
from dstack_core._ledger.idle import IdleMachine, offer_itself
from dstack_core._ledger.machines import gone, machines
from dstack_core._ledger.records import Attempt, JobRecord, RunRecord
from dstack_core._ledger.runs import ask_to_end, create_run, finish_run, read_run, write_job, write_plan
from dstack_core._plan.job import PlannedJob, RunPlan, Source
from dstack_core._plugins.registry import Plugins
from dstack_core.codec import dumps
from dstack_core.models import Artifact, JobSpec, Offer

OFFER = Offer("box", "box", 2.0, 1 << 33)
NO_EXECUTORS = Executors(Plugins.discover(enabled=False), DEFAULT)


def run_of(store, *jobs, deps=None):
    planned = tuple(
        PlannedJob(
            name, name, "me/x", "bash", JobSpec(("true",)), "w", tuple(Source(d, d) for d in (deps or {}).get(name, ()))
        )
        for name in jobs
    )
    plan = write_plan(store, dumps(RunPlan("me/x", jobs[-1], "0" * 64, planned)))
    draft = RunRecord("", "me/x", "me", jobs[-1], plan, time.time(), "local")
    return create_run(store, draft).value.name


def quiet(event):
    """Nobody wants to know."""


def test_what_was_claimed_or_done_meanwhile_is_not_stopped(store):
    name = run_of(store, "a", "b", "c")
    ask_to_end(store, name, "stop")
    stale = RunView(store, name)
    runs = Attempt(1, "m", time.time(), "running")
    ended = Attempt(1, "m", 1.0, "done", 2.0, 0)
    write_job(store, None, JobRecord(name, "a", "running", (runs,)))
    write_job(store, None, JobRecord(name, "b", "done", (ended,), (Artifact("out", "f" * 64, 1, 1),)))
    settle(stale, quiet)
    found = {job: document.value for job, document in RunView(store, name).jobs.items()}
    assert {job: record.status for job, record in found.items()} == {"a": "running", "b": "done", "c": "stopped"}
    assert found["b"].artifacts


def test_of_many_who_miss_a_machine_one_launches_it(store, new_box):
    name, box = run_of(store, "a"), new_box()
    views = [RunView(store, name) for _ in range(8)]
    together = threading.Barrier(len(views))

    def go(view):
        together.wait()
        advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)

    threads = [threading.Thread(target=go, args=(view,)) for view in views]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(box.up) == 1
    assert len(list(machines(store, name))) == 1


def test_a_lost_machine_is_followed_by_another_until_there_were_too_many(store, new_box):
    name, box = run_of(store, "a"), new_box()
    view = RunView(store, name)
    for launched in range(1, LAUNCHES + 1):
        advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)
        assert len(list(machines(store, name))) == launched
        assert not view.finished
        box.up.clear()
    advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)
    assert view.run.status == "failed"
    assert "machines ended" in view.jobs["a"].value.reason


def test_who_may_launch_none_takes_one_that_waits(store, new_box):
    name, box = run_of(store, "a"), new_box("0-abc")
    box.distant = True
    engine = Engine(store, box, DEFAULT, NO_EXECUTORS, quiet, launches=False)
    engine._elsewhere = SimpleNamespace(kind="kind")
    view = RunView(store, name)
    advance(engine, view)
    assert list(machines(store, name)) == []
    offer_itself(store, IdleMachine("0-abc", "old-1", OFFER, "i-1", "kind", time.time(), time.time() + 60))
    advance(engine, view)
    advance(engine, view)
    (machine,) = (document.value for document in machines(store, name))
    assert machine.label == "0-abc"
    assert box.up == {"0-abc"}


def test_giving_up_leaves_what_is_done(store, new_box):
    name, box = run_of(store, "a", "b"), new_box()
    view = RunView(store, name)
    for _ in range(LAUNCHES):
        advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)
        box.up.clear()
    write_job(store, None, JobRecord(name, "a", "done", (Attempt(1, "0-x", 1.0, "done", 2.0, 0),)))
    advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)
    assert {job: document.value.status for job, document in view.jobs.items()} == {"a": "done", "b": "failed"}


def test_a_run_that_ends_while_it_is_looked_at_gets_no_other_machine(store, new_box, monkeypatch):
    name, box = run_of(store, "a"), new_box()
    view = RunView(store, name)
    advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)
    (machine,) = (document.value for document in machines(store, name))
    listed = store.list

    def end_first(prefix, after=""):
        """Its runner finishes the run, and leaves, just before the machines are looked at."""
        if prefix.startswith("machines/") and read_run(store, name).value.status == "submitted":
            write_job(store, None, JobRecord(name, "a", "done", (Attempt(1, machine.id, 1.0, "done", 2.0, 0),)))
            finish_run(store, name, "done", 0, time.time())
            gone(store, name, machine.id, time.time())
            box.up.clear()
        return listed(prefix, after)

    monkeypatch.setattr(store, "list", end_first)
    advance(Engine(store, box, DEFAULT, NO_EXECUTORS, quiet), view)
    assert view.run.status == "done"
    assert box.up == set()
    assert len(list(machines(store, name))) == 1
