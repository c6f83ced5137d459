"""Clocks that are hours or years wrong delay nothing that matters and corrupt nothing."""

from __future__ import annotations

import json

import pytest

YEARS = 10 * 365 * 86400


@pytest.mark.parametrize("role", ["cli", "runner"])
@pytest.mark.parametrize("wrong", [-YEARS, -3600, 3600, YEARS])
def test_a_run_comes_to_its_end_and_is_reused(project, role, wrong):
    project.workflows("""
        - {name: one, provider: bash, artifacts: [out], commands: ['echo 1 | tee out/x']}
        - {name: two, provider: bash, deps: [one], artifacts: [end], commands: ['cp out/x end/x']}
        """)
    wrong_there = project.faults(role, clock=wrong)
    project.dstack("run", "two", "--tag", "t", env=wrong_there)
    first = project.run()
    assert project.log("one", run=first) == "1\n"
    assert "1\n" in project.dstack("logs", first).out
    second = json.loads(project.dstack("run", "two", "--json").out)["run"]
    assert set(project.statuses(second).values()) == {"reused"}
    listed = {row["run"]: row["status"] for row in json.loads(project.dstack("ps", "-a", "--json").out)}
    assert listed == {first: "done", second: "done"}
    assert "end" in project.dstack("ls", ":t").out


@pytest.mark.parametrize("wrong", [-YEARS, YEARS])
def test_a_machine_with_another_clock_is_not_taken_for_dead(project, wrong):
    project.workflows(f"- {{name: work, provider: bash, commands: ['{project.gate('g')}']}}")
    project.dstack("run", "work", "-d", env=project.faults("runner", clock=wrong))
    project.reached("g")
    project.dstack("ps")
    project.dstack("ps", env=project.faults("cli", clock=-wrong))
    (attempt,) = project.job("work").attempts
    assert attempt.finished is None
    project.dstack("stop", "-y", project.run(), env=project.faults("cli", clock=-wrong))
    assert project.view().run.status == "stopped"
