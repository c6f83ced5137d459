"""`dstack run`: overrides, arguments, help, refusals, exit codes."""

from __future__ import annotations

import json

import pytest

WORK = "- {name: work, help: Does the work, provider: bash, env: {A: one}, artifacts: [out], commands: ['echo $A']}"


def test_env_is_overridden(project):
    project.workflows(WORK)
    assert project.dstack("run", "work", "--env", "A=two").out == "two\n"
    done = project.dstack("run", "--env", "A=three", "work", expect=2)
    assert "after the workflow" in done.err


def test_env_without_a_value_is_the_callers(project):
    project.workflows(WORK)
    assert project.dstack("run", "work", "--env", "A", env={"A": "mine"}).out == "mine\n"


@pytest.mark.parametrize("command", ["run", "plan"])
def test_more_than_the_machine_has_is_told_before_anything_runs(project, command):
    project.workflows(WORK)
    done = project.dstack(command, "work", "--memory", "900TB", expect=75)
    assert "memory" in done.err
    assert "900 TB of memory, has " in done.err
    assert project.runs() == []
    assert project.processes() == []


def test_artifacts_and_deps_are_overridden(project):
    project.workflows("""
        - {name: make, provider: bash, artifacts: [data], commands: ['echo 1 > data/x']}
        - {name: use, provider: bash, commands: ['cat data/x', 'echo 2 > more/y']}
        """)
    done = project.dstack("run", "use", "--dep", "make", "--artifact", "more")
    assert "use  | 1" in done.out
    assert (project.artifact("use", "more") / "y").read_text() == "2\n"


def test_a_provider_runs_without_a_workflow_file(project):
    done = project.dstack("run", "bash", "-c", "echo hi; echo ho >&2")
    assert sorted(done.out.splitlines()) == ["hi", "ho"]
    assert project.dstack("run", "bash", "-c", "echo one", "-c", "exit 6", expect=6).out == "one\n"


def test_what_stands_after_two_dashes_is_the_workflows(project):
    project.workflows("- {name: work, provider: bash, commands: ['printf \"<%s>\" ${{ run.args }}']}")
    assert project.dstack("run", "work", "a b", "--", "--env", "X=1", "--", "-h").out == "<a b><--env><X=1><--><-h>"
    assert project.dstack("run", "work").out == "<>"


def test_an_unknown_option_is_told_how_to_reach_the_workflow(project):
    project.workflows(WORK)
    done = project.dstack("run", "work", "--epochs", "3", expect=2)
    assert "-- --epochs" in done.err
    done = project.dstack("run", "work", "--memry", "3", expect=2)
    assert "--memory" in done.err
    assert project.runs() == []


def test_help_of_a_workflow(project):
    project.workflows(WORK)
    shown = project.dstack("run", "work", "--help").out
    assert "Does the work" in shown
    for option in ("--commands", "--env", "--memory", "--gpu", "--interruptible", "--force", "--detach"):
        assert option in shown


def test_a_name_that_is_nothing(project):
    project.workflows(WORK)
    done = project.dstack("run", "wrok", expect=66)
    assert "work" in done.err


def test_a_broken_file_is_told_with_its_place(project):
    project.workflows("- {name: work, provider: bash, comands: ['true']}")
    done = project.dstack("run", "work", expect=65)
    assert ".dstack/workflows.yaml:2:34" in done.err
    assert "commands" in done.err


def test_json_is_that_of_ps(project):
    project.workflows(WORK)
    told = json.loads(project.dstack("run", "work", "--json").out)
    assert (told["run"], told["status"], told["exit_code"]) == (project.run(), "done", 0)
    assert told == json.loads(project.dstack("ps", project.run(), "--json").out)


def test_the_run_is_tagged_when_it_has_succeeded(project):
    project.workflows(WORK)
    first = project.dstack("run", "work", "-t", "best")
    assert "best" in project.dstack("tags").out
    assert "moves" not in first.err
    run = project.run()
    assert f"the tag best moves here from {run} when it is done" in project.dstack("run", "work", "-t", "best").err
    done = project.dstack("run", "bash", "--dep", ":best", "-c", "ls -d out")
    assert done.out == "out\n"


@pytest.mark.parametrize("tag", ["a/b", ":x", ""])
def test_a_tag_that_cannot_be_is_told_before_anything_runs(project, tag):
    project.workflows(WORK)
    project.dstack("run", "work", "--tag", tag, expect=65)
    assert project.runs() == []


def test_a_tag_for_nothing_is_told_before_anything_runs(project):
    assert "artifacts" in project.dstack("run", "bash", "-c", "true", "-t", "best", expect=65).err
    assert project.runs() == []


def test_a_run_that_fails_moves_no_tag(project):
    project.workflows(WORK)
    project.dstack("run", "work", "-t", "best")
    project.dstack("run", "work", "-t", "best", "--force", "--commands", "exit 3", expect=3)
    listed = json.loads(project.dstack("tags", "--json").out)
    assert [(tag["tag"], tag["run"]) for tag in listed] == [("best", project.runs()[0])]


def test_nobody_reads_the_output_any_more(project):
    process = project.start("run", "bash", "-c", "yes | head -n 100000; sleep 0.2; echo end")
    process.stdout.read(1)
    process.stdout.close()
    process.stdout = None
    assert project.end(process, expect=None).code in (141, -13)
    assert project.finished().run.status == "done"


def test_without_plugins_nothing_runs_and_the_reason_is_said(project):
    project.workflows("- {name: work, provider: bash, commands: ['echo hi']}")
    for command in (["run", "work"], ["plan", "work"], ["ps"]):
        done = project.dstack("--no-plugins", *command, expect=69)
        assert "plugins are switched off" in done.err
        assert "leave out --no-plugins" in done.err
    assert not project.runs()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_provider_that_is_not_there_is_told_with_its_place(project, command):
    project.workflows("- {name: work, provider: bahs, commands: ['true']}")
    done = project.dstack(command, "work", expect=69)
    assert done.err.startswith("error: .dstack/workflows.yaml:2:28: no installed plugin has provider bahs")
    assert "bash" in done.err
