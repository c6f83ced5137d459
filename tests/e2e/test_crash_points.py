"""Killed after any change to the store, by any of its processes, a run does not exist or comes to its end."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import psutil
import pytest

from dstack_core._engine.upkeep import BOOT
from dstack_core._ledger import documents
from dstack_core._ledger.machines import machine_key
from dstack_core._ledger.records import MachineRecord

TWO = """
    - {name: one, provider: bash, artifacts: [out], commands: ['cat code.txt | tee out/x']}
    - {name: two, provider: bash, deps: [one], artifacts: [end], commands: ['cp out/x end/x']}
    """


class Strikes:
    """`dstack run two`, each time with new code, struck at a change to the store."""

    def __init__(self, project):
        self.project = project
        self.number = 0
        project.workflows(TWO)

    def start(self, role, at, *arguments, **fault):
        self.number += 1
        self.project.write("code.txt", f"{self.number}\n")
        env = self.project.faults(role, at=at, file=self._counter(), **fault)
        return self.project.start("run", "two", *arguments, env=env)

    def held(self, at):
        """The command, stopped after that change."""
        process = self.start("cli", at, signal=int(signal.SIGSTOP))
        stopped = psutil.STATUS_STOPPED
        self.project.wait_for(lambda: psutil.Process(process.pid).status() == stopped, "the command to be held")
        return process

    def __call__(self, role, at, *arguments, **fault):
        """How it ended, the run if there is one, and a function that counts the changes that there were."""
        before = set(self.project.runs())
        done = self.project.end(self.start(role, at, *arguments, **fault), None)
        new = set(self.project.runs()) - before
        assert len(new) <= 1
        counter = self._counter()
        return done, new.pop() if new else None, lambda: counter.stat().st_size

    def _counter(self):
        return self.project.folder / f"changes-{self.number}"


@pytest.fixture
def strike(project):
    return Strikes(project)


def pass_time(project, run):
    """A machine that was only intended is waited for a while: let that while be over."""
    for machine in project.machines(run):
        if machine.status == "intent" and machine.handle is None:
            key = machine_key(run, machine.id)
            documents.update(project.store, MachineRecord, key, lambda m: replace(m, created=m.created - BOOT))


def healed(project, run):
    """`ps` works, and afterwards the run comes to its end by itself."""
    if run is not None and project.view(run).run.status == "submitted":
        pass_time(project, run)
    listed = project.dstack("ps", "-a", "--json")
    assert listed.err == ""
    if run is None:
        return
    assert run in {row["run"] for row in json.loads(listed.out)}
    view = project.finished(run)
    assert view.run.status == "done"
    number = (project.artifact("two", "end", run) / "x").read_text()
    assert project.log("one", len(view.jobs["one"].value.attempts), run) == number


def test_the_command_is_killed(project, strike):
    done, run, changes = strike("cli", 0)
    assert done.code == 0
    healed(project, run)
    assert changes() > 3
    existed = []
    for at in range(1, changes() + 1):
        done, run, made = strike("cli", at)
        # The run's last status is recorded by the command or by the runner: then it is not among the command's.
        assert done.code == (-signal.SIGKILL if made() >= at else 0)
        existed.append(run is not None)
        healed(project, run)
    assert existed == sorted(existed)  # there is one change from which on it exists
    assert set(existed) == {False, True}


def test_the_runner_is_killed(project, strike):
    _, run, changes = strike("runner", 0, "-d")
    healed(project, run)
    assert changes() > 6
    for at in range(1, changes() + 1):
        _, run, _ = strike("runner", at, "-d")
        healed(project, run)
        assert len(project.machines(run)) == 1, project.story()  # its keeper started it again


def test_the_machine_is_lost(project, strike):
    _, run, changes = strike("runner", 0, "-d")
    healed(project, run)
    for at in range(1, changes() + 1, 3):
        _, run, _ = strike("runner", at, "-d", keeper=1)
        project.wait_for(lambda: not project.processes(), "the machine to be lost")
        healed(project, run)


def test_ctrl_c_at_any_change(project, strike):
    """Not on a terminal: it means stop. Nothing goes on unseen."""
    _, run, changes = strike("cli", 0)
    for at in range(1, changes() + 1):
        done, run, made = strike("cli", at, signal=int(signal.SIGINT))
        assert done.code == (130 if made() >= at else 0)
        if run is not None:
            assert run in done.err
            assert project.view(run).run.status in ("stopped", "done")


@pytest.mark.parametrize("module", ["click", "dstack_core._cli.group", "pydantic", "dstack_core._cli.follow"])
def test_ctrl_c_while_it_starts(project, strike, module):
    done, run, _ = strike("cli", 0, signal=int(signal.SIGINT), **{"import": module})
    assert done.code == 130
    if run is not None:
        assert project.view(run).run.status in ("stopped", "done")


def ended(project, run, *words):
    """The run has ended: well, or with a reason that says what was wrong."""

    def looked_at():
        # A store that is away for longer than the keeper tries costs the machine: the next look starts another.
        project.dstack("ps")
        return project.view(run).finished

    project.wait_for(looked_at, f"{run} to end")
    view = project.view(run)
    if view.run.status != "done":
        (failed,) = [document.value for document in view.jobs.values() if document.value.status == "failed"]
        assert all(word in failed.reason for word in words)
    return view.run.status


def test_an_unexpected_exception_at_any_change(project, strike):
    """A mistake of ours in the runner, wherever it comes up."""
    _, run, changes = strike("runner", 0, "-d")
    healed(project, run)
    for at in range(1, changes() + 1, 2):
        _, run, _ = strike("runner", at, "-d", **{"raise": "ours"})
        assert ended(project, run, "a mistake of ours") in ("done", "failed")


@pytest.mark.parametrize("failure", ["lost", "away"])
def test_a_store_that_fails_for_a_while(project, strike, failure):
    """At any change: `lost` is made, and the answer is an error; `away` is not, nor are the next four."""
    _, run, changes = strike("runner", 0, "-d")
    healed(project, run)
    ends = []
    for at in range(1, changes() + 1, 1 if failure == "lost" else 3):
        _, run, _ = strike("runner", at, "-d", **{"raise": failure})
        ends.append(ended(project, run, f"the store is {failure}"))
    assert ends.count("done") >= len(ends) / 2  # only what must be there to go on fails a job: code, inputs, artifacts


def test_a_stop_between_any_two_changes_of_the_submission(project, strike):
    """The command that submits is held, the run is stopped, then the command goes on."""
    _, run, changes = strike("cli", 0)
    healed(project, run)
    for at in range(1, changes() + 1):
        before = set(project.runs())
        process = strike.held(at)
        new = set(project.runs()) - before
        for name in new:
            project.dstack("stop", "-y", name)
        process.send_signal(signal.SIGCONT)
        done = project.end(process, None)
        ends = {project.view(name).run.status for name in new or {project.run()}}
        assert (done.code, ends) in ((130, {"stopped"}), (0, {"done"})), done.said
