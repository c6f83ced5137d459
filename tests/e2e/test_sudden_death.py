"""Killed before or after any change to the store, by any of its processes, whatever it was doing: nothing is lost,
nothing is left over, and the next ordinary command goes on. Also when that one is killed, too.

A sample of the points is tried; all of them with DSTACK_CRASHES=all, see CONTRIBUTING.md.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
from dataclasses import replace

import pytest

from dstack_core._content.tree import check_tree
from dstack_core._engine.upkeep import BOOT
from dstack_core._ledger import documents
from dstack_core._ledger.machines import machine_key
from dstack_core._ledger.records import MachineRecord, TagRecord

ALL = os.environ.get("DSTACK_CRASHES") == "all"
FEW = 2
PIPELINE = """
    - {name: one, provider: bash, inputs: [one.txt], artifacts: [out], commands: ['cat one.txt | tee out/x']}
    - name: two
      provider: bash
      deps: [one]
      inputs: [two.txt]
      artifacts: [end]
      commands: ['cat out/x two.txt > end/x']
    """
MOMENTS = pytest.mark.parametrize("moment", ["before", "after"])


class Scene:
    """Calls of `dstack` that are struck, and what must be true afterwards."""

    def __init__(self, project):
        self.project = project
        self.calls = 0
        self.tried = 0
        project.workflows(PIPELINE)
        project.write("one.txt", "1\n")

    def struck(self, role, at, moment, *arguments, **fault):
        """`dstack` with these arguments, struck (`at` 0: not at all); how many changes there were, and how it ended."""
        self.calls += 1
        self.tried += at > 0
        counter = self.project.folder / f"changes-{self.calls}"
        if moment == "before":
            fault["before"] = 1
        done = self.project.dstack(*arguments, env=self.project.faults(role, at=at, file=counter, **fault), expect=None)
        if fault.get("keeper") == 1:
            self.project.wait_for(lambda: not self.project.processes(), "the machine to be lost")
        return done, lambda: counter.stat().st_size if counter.exists() else 0

    def new_code(self):
        """What `two` is to make now; `one` can be reused."""
        self.project.write("two.txt", f"{self.calls}\n")
        return f"1\n{self.calls}\n"

    def pass_time(self):
        """A machine that was only intended is waited for a while: let that while be over."""
        for entry in self.project.store.list("index/active/"):
            for machine in self.project.machines(run := entry.key.rpartition("/")[2]):
                if machine.status == "intent" and machine.handle is None:
                    key = machine_key(run, machine.id)
                    documents.update(
                        self.project.store, MachineRecord, key, lambda m: replace(m, created=m.created - BOOT)
                    )

    def look(self):
        """An ordinary command."""
        self.pass_time()
        listed = self.project.dstack("ps", "-a", "--json")
        assert listed.err == ""
        return {row["run"]: row["status"] for row in json.loads(listed.out)}

    def all_end(self):
        """Every run that exists comes to its end, and no process is left."""
        self.look()
        for run in self.project.runs():
            if not self.project.view(run).finished:
                self.project.finished(run)
        self.project.wait_for(lambda: not self.project.processes(), "all processes to end")
        return self.look()

    def points(self, number, most=FEW):
        """Which changes of so many to be struck at."""
        if ALL or number <= most:
            return range(1, number + 1)
        return sorted({1 + i * (number - 1) // (most - 1) for i in range(most)})


@pytest.fixture
def scene(project):
    found = Scene(project)
    yield found
    print(f"\n{found.tried} points")


ROLES = {
    "command": ("cli", {}),
    "runner": ("runner", {}),
    "keeper": ("runner", {"keeper": "only"}),
    "runner and keeper": ("runner", {"keeper": 1}),
}


CASES = [("command", "before"), ("command", "after"), ("runner", "before"), ("keeper", "after")]
CASES += [("runner and keeper", "after")]


@pytest.mark.parametrize(("role", "moment"), list(itertools.product(ROLES, ["before", "after"])) if ALL else CASES)
def test_a_run_with_artifacts_a_tag_and_reuse(project, scene, role, moment):
    role, fault = ROLES[role]
    arguments = ["run", "two", "--tag", "best", *(["-d"] if role == "runner" else [])]
    expected = scene.new_code()
    _, changes = scene.struck(role, 0, moment, *arguments, **fault)
    scene.all_end()
    for at in scene.points(changes()):
        before = set(project.runs())
        expected = scene.new_code()
        scene.struck(role, at, moment, *arguments, **fault)
        statuses = scene.all_end()
        (new,) = set(project.runs()) - before or [None]
        if new is not None:
            assert statuses[new] == "done"
            assert (project.artifact("two", "end", new) / "x").read_text() == expected
            assert project.statuses(new)["one"] in ("reused", "done")
        # The same again comes to the same end. What died before it left its trace may have to run once more.
        project.dstack(*arguments[:4])
        again = project.run()
        assert project.statuses(again)["two"] in ({"reused", "done"} if new else {"done"})
        assert (project.artifact("two", "end", again) / "x").read_text() == expected
        tagged = {row["tag"]: row["run"] for row in json.loads(project.dstack("tags", "--json").out)}
        assert tagged == {"best": again}


@MOMENTS
@pytest.mark.parametrize("how", [[], ["-x"]], ids=["stop", "abort"])
def test_stop(project, scene, how, moment):
    gate = project.gate("g")
    project.workflows(f"- {{name: work, provider: bash, artifacts: [out], commands: ['echo 1 > out/x', '{gate}']}}")
    at, number = 0, 1
    while at <= number:
        project.dstack("run", "work", "-d")
        project.reached("g")
        run = project.run()
        done, changes = scene.struck("cli", at, moment, "stop", "-y", *how, run)
        number = changes() if at == 0 else number
        assert done.code in ((0,) if at == 0 else (0, -signal.SIGKILL))
        statuses = scene.look()
        if statuses[run] == "running":  # the command died before it did anything
            assert moment == "before"
        project.dstack("stop", "-y", *how, run)
        assert project.view(run).run.status == ("aborted" if how else "stopped")
        if not how:
            assert (project.artifact("work", "out", run) / "x").read_text() == "1\n"
        project.wait_for(lambda: not project.processes(), "all processes to end")
        (project.sync / "g.there").unlink()
        at += 1


@MOMENTS
def test_rm(project, scene, moment):
    scene.new_code()
    project.dstack("run", "two", "--tag", "best")
    at, number = 0, 1
    while at <= number:
        run = json.loads(project.dstack("run", "two", "--json").out)["run"]
        _, changes = scene.struck("cli", at, moment, "rm", "-y", run)
        number = changes() if at == 0 else number
        listed = scene.look()
        if run in listed:
            assert (moment, at) == ("before", 1)
        project.dstack("rm", "-y", run)
        assert run not in scene.look()
        keys = [info.key for info in project.store.list("") if run in info.key]
        assert keys == [f"runs/{run}/run.json"]
        at += 1 if ALL else max(1, number // FEW)
    # What others refer to is all there.
    assert "end" in project.dstack("ls", ":best").out


def tagged(project):
    """The artifacts that the tag `t` names."""
    (key,) = [info.key for info in project.store.list("tags/")]
    artifacts = documents.read(project.store, TagRecord, key).value.artifacts
    assert artifacts
    return artifacts


@MOMENTS
@pytest.mark.parametrize("what", ["add", "upload", "delete"])
def test_tags(project, scene, what, moment):
    scene.new_code()
    project.dstack("run", "two")
    run = project.run()
    arguments = {"add": ["add", "t", run], "upload": ["add", "t", "-a", "up"], "delete": ["delete", "-y", "t"]}[what]
    at, number = 0, 1
    while at <= number:
        project.write("up/x", f"{at}{'.' * 5000}")
        if what == "delete":
            project.dstack("tags", "add", "t", run)
        _, changes = scene.struck("cli", at, moment, "tags", *arguments)
        number = changes() if at == 0 else number
        there = "t " in project.dstack("tags").out
        if what != "delete":
            if not there:
                project.dstack("tags", *arguments)
            assert all(check_tree(project.store, artifact.tree) == [] for artifact in tagged(project))
            project.dstack("tags", "delete", "-y", "t")
        elif there:
            project.dstack("tags", *arguments)
        assert "No tags" in project.dstack("tags").out
        at += 1


def test_killed_again_while_the_next_command_repairs(project, scene):
    """Pairs of points: of the run's runner and keeper, then of whoever repairs, of whatever role."""
    scene.new_code()
    arguments = ["run", "two", "-d"]
    _, changes = scene.struck("runner", 0, "after", *arguments)
    scene.all_end()
    first, chance = changes(), random.Random(7)
    for _ in range(int(os.environ.get("DSTACK_CRASH_PAIRS", 4))):
        expected = scene.new_code()
        role, fault = chance.choice([("cli", {}), ("runner", {"keeper": 1})])
        scene.struck(role, chance.randint(1, first), chance.choice(["before", "after"]), *arguments, **fault)
        scene.pass_time()
        role, fault = chance.choice([("cli", {}), ("runner", {}), ("runner", {"keeper": 1})])
        moment = chance.choice(["before", "after"])
        repair = chance.choice([["ps"], arguments])
        scene.struck(role, chance.randint(1, 8), moment, *repair, **fault)
        statuses = scene.all_end()
        assert set(statuses.values()) == {"done"}
        project.dstack("run", "two")
        assert (project.artifact("two", "end") / "x").read_text() == expected
