"""Runs on machines that are other computers. Each boots, works, and is gone in the end: the account must be empty."""

from __future__ import annotations

import json

import pytest
from aws_box import aws, aws_box
from elsewhere import IMAGE, PIPELINE, Elsewhere, elsewhere, limits
from weed import weed

from dstack_core._ledger.idle import look

__all__ = ["aws", "aws_box", "elsewhere", "limits", "weed"]


def test_a_pipeline_of_two_machines_finishes_with_nobody_looking(elsewhere: Elsewhere):
    elsewhere.project.workflows(PIPELINE)
    run = elsewhere.submit("train")
    view = elsewhere.finished(run)
    assert dict(view.progress.status) == {"data": "done", "train": "done"}
    assert elsewhere.log(run, "train") == "1000\n"
    elsewhere.wait_for(lambda: {m.status for m in elsewhere.machines(run)} == {"gone"}, "machines to leave")
    assert [machine.offer.name for machine in elsewhere.machines(run)] == ["t3.small", "r5.large"]
    assert "1000" in elsewhere.project.dstack("logs", run).out
    (row,) = json.loads(elsewhere.project.dstack("ps", "--json").out)
    hours = (view.run.finished - view.run.submitted) / 3600
    most = sum(machine.offer.price for machine in elsewhere.machines(run)) * hours
    assert 0 < row["cost"] <= most
    assert " USD" in elsewhere.project.dstack("ps", run).out


RESUMED = f"""
- name: train
  provider: bash
  image: {IMAGE}
  commands:
    - "echo starts from $(cat model/step || echo nothing)"
    - "[ -e model/step ] || {{ echo 41 > model/step; while true; do sleep 1; done; }}"
  artifacts: [{{path: model, mount: true}}]
  resources: {{interruptible: true}}
"""


def test_who_is_told_that_its_machine_goes_saves_and_goes_on_elsewhere(elsewhere: Elsewhere):
    """With nobody looking: the machine that goes launches the next one."""
    elsewhere.project.workflows(RESUMED)
    run = elsewhere.submit("train")
    machine = elsewhere.said(run, "train", "starts from nothing")
    elsewhere.aws.warn(machine.handle, seconds=60)
    assert elsewhere.finished(run).run.status == "done"
    first, second = elsewhere.job(run, "train").attempts
    assert (first.status, second.status) == ("interrupted", "done")
    assert "starts from 41" in elsewhere.log(run, "train", 2)
    assert [m.offer.spot for m in elsewhere.machines(run)] == [True, True]


def test_a_machine_that_is_lost_is_replaced_by_the_next_command(elsewhere: Elsewhere):
    """Without notice. What the job had saved while it ran is there again."""
    elsewhere.project.workflows(RESUMED)
    run = elsewhere.submit("train")
    machine = elsewhere.said(run, "train", "starts from nothing")
    elsewhere.wait_for(lambda: elsewhere.job(run, "train").artifacts, "the checkpoint to be saved")
    elsewhere.aws.lose(machine.handle)
    elsewhere.wait_for(lambda: "interrupted" in elsewhere.project.dstack("ps").out, "the loss to be seen")
    assert elsewhere.finished(run).run.status == "done"
    assert [attempt.status for attempt in elsewhere.job(run, "train").attempts] == ["interrupted", "done"]
    assert "starts from 41" in elsewhere.log(run, "train", 2)


def test_a_machine_that_cannot_start_says_why(elsewhere: Elsewhere):
    """A bundle that is not what it should be is not used; the second such machine ends the run."""
    elsewhere.project.workflows(PIPELINE)
    run = elsewhere.submit("data")
    elsewhere.spoil_bundle()
    for _ in range(2):
        record = elsewhere.machines(run)[-1]
        elsewhere.aws.wait_for_state(record.handle, "terminated")
        elsewhere.project.dstack("ps")
    assert elsewhere.view(run).run.status == "failed"
    reason = elsewhere.job(run, "data").reason
    assert reason.startswith("2 machines ended before their runners came up: there is nothing to start from: what came")


HOLD = f"""
- name: hold
  provider: bash
  image: {IMAGE}
  commands: [echo it runs, sleep 1000]
"""


def test_a_run_whose_budget_is_spent_is_stopped(elsewhere: Elsewhere):
    """With nobody looking: the machine sees to it, and leaves."""
    elsewhere.project.workflows(HOLD)
    run = elsewhere.submit("--budget", "0.00001", "hold")
    view = elsewhere.finished(run)
    assert (view.run.status, view.run.reason) == ("stopped", "its budget of 1e-05 USD is spent")
    assert view.run.cost >= 0.00001
    elsewhere.wait_for(lambda: {m.status for m in elsewhere.machines(run)} == {"gone"}, "the machine to leave")
    (row,) = json.loads(elsewhere.project.dstack("ps", "--json").out)
    assert (row["budget"], row["reason"]) == (0.00001, view.run.reason)


@pytest.mark.parametrize("limits", [{"lease": "45s", "machines": "2"}])
def test_a_run_on_two_machines_is_followed_and_stopped_from_here(elsewhere: Elsewhere):
    """They leave with it: the account is empty in the end."""
    elsewhere.project.workflows(f"{HOLD.rstrip()}\n  matrix: {{n: [1, 2, 3]}}\n  resources: {{cpu: 2}}\n")
    following = elsewhere.project.start("run", "-r", "hold")
    run = elsewhere.wait_for(elsewhere.runs, "a run")[0]
    used = {elsewhere.said(run, f"hold[n={n}]", "it runs").id for n in (1, 2)}
    assert used == {machine.id for machine in elsewhere.machines(run)}
    assert len(used) == 2
    assert elsewhere.view(run).progress.status["hold[n=3]"] == "submitted"  # there is no room for it
    elsewhere.project.dstack("stop", run, "--yes")
    assert "it runs" in elsewhere.project.end(following, expect=None).out
    assert elsewhere.view(run).run.status == "stopped"
    elsewhere.wait_for(lambda: {m.status for m in elsewhere.machines(run)} == {"gone"}, "the machines to leave")


def test_a_machine_that_is_cut_off_ends_itself(elsewhere: Elsewhere):
    """It cannot save what its job made, and others have been told that the job is free."""
    elsewhere.project.workflows(HOLD)
    run = elsewhere.submit("hold")
    machine = elsewhere.said(run, "hold", "it runs")
    elsewhere.aws.plug(machine.handle, False)
    elsewhere.aws.wait_for_state(machine.handle, "terminated")
    elsewhere.project.dstack("stop", run, "--yes")
    assert elsewhere.view(run).run.status == "stopped"
    assert [attempt.status for attempt in elsewhere.job(run, "hold").attempts] == ["interrupted"]


@pytest.mark.parametrize("limits", [{"lease": "60s", "idle": "10m"}])
def test_the_next_run_takes_a_machine_that_waits_for_it(elsewhere: Elsewhere):
    """It begins at once; what else is like that machine has to be the same kind. In the end it is released."""
    elsewhere.project.workflows(PIPELINE)
    first = elsewhere.submit("data")
    elsewhere.finished(first)
    waiting = elsewhere.wait_for(lambda: elsewhere.waiting(), "the machine to wait")
    assert [row["run"] for row in waiting] == [first]
    second = elsewhere.submit("--force", "data")
    assert elsewhere.finished(second).run.status == "done"
    (before,), (machine,) = elsewhere.machines(first), elsewhere.machines(second)
    assert (machine.born, machine.handle, machine.label) == (before.id, before.handle, before.id)
    assert (before.status, before.ended <= machine.created) == ("gone", True)
    elsewhere.wait_for(lambda: [row["run"] for row in elsewhere.waiting()] == [second], "it to wait again")
    (paid,) = elsewhere.machines(first)
    assert paid.ended + paid.waited == pytest.approx(machine.created), "the wait counts for the run that it worked for"
    assert elsewhere.view(first).run.cost == pytest.approx(paid.cost(0))
    elsewhere.project.dstack("machines", "--release")
    elsewhere.aws.wait_for_state(before.handle, "terminated")
    assert json.loads(elsewhere.project.dstack("machines", "--json").out)["machines"] == []


BIG_LATER = f"""
- name: small
  provider: bash
  image: {IMAGE}
  commands: ["echo here", "until [ -e /tmp/go ]; do sleep 0.2; done"]
- name: large
  provider: bash
  image: {IMAGE}
  deps: [small]
  commands: ["echo done"]
  resources: {{memory: 8GB}}
- name: first
  provider: bash
  image: {IMAGE}
  commands: ["echo done"]
  resources: {{memory: 8GB}}
"""


@pytest.mark.parametrize("limits", [{"lease": "60s", "idle": "10m", "machines_launch": "false"}])
def test_a_machine_that_may_launch_none_takes_one_that_waits(elsewhere: Elsewhere):
    """With nobody looking."""
    elsewhere.project.workflows(BIG_LATER)
    run = elsewhere.submit("large")
    small = elsewhere.said(run, "small", "here")
    other = elsewhere.submit("first")
    elsewhere.finished(other)
    (large,) = elsewhere.machines(other)
    elsewhere.wait_for(lambda: look(elsewhere.store, large.id), "a machine to wait")
    elsewhere.aws.run(small.handle, "sh", "-c", "docker exec $(docker ps --quiet) touch /tmp/go")
    assert elsewhere.finished(run).run.status == "done"
    assert [machine.label for machine in elsewhere.machines(run)] == [small.id, large.id]
    for found in (small, large):
        elsewhere.wait_for(lambda label=found.label: look(elsewhere.store, label), "both to wait")
    elsewhere.project.dstack("machines", "--release")
