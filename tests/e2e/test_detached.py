"""A run goes on without the command that started it."""

from __future__ import annotations

import json
import os
import signal

import pytest


@pytest.fixture
def waiting(project):
    """A chain whose first job waits for the test."""
    project.workflows(f"""
        - {{name: one, provider: bash, artifacts: [out],
           commands: ['echo before', '{project.gate("one")}', 'echo 1 > out/x']}}
        - {{name: two, provider: bash, deps: [one], commands: ['cat out/x', 'exit 3']}}
        """)
    return project


def test_detach_returns_and_the_run_goes_on(waiting):
    done = waiting.dstack("run", "two", "-d")
    assert done.out == ""
    assert f"dstack logs -a {waiting.run()}" in done.err
    waiting.reached("one")
    assert json.loads(waiting.dstack("ps", "--json").out)[0]["status"] in ("running", "downloading")
    waiting.open("one")
    view = waiting.finished()
    assert (view.run.status, view.run.exit_code) == ("failed", 3)


def test_detached_json_names_the_run(waiting):
    record = json.loads(waiting.dstack("run", "two", "-d", "--json").out)
    assert record["run"] == waiting.run()
    waiting.open("one")
    waiting.finished()


def test_attaching_shows_it_from_the_beginning_and_ends_with_its_code(waiting):
    waiting.dstack("run", "two", "-d")
    waiting.reached("one")
    viewer = waiting.start("logs", "-a", waiting.run())
    another = waiting.start("logs", "-a", waiting.run())
    waiting.open("one")
    for process in (viewer, another):
        assert waiting.end(process, 3).out == "one | before\ntwo | 1\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_killing_the_command_leaves_the_run(waiting, number):
    process = waiting.start("run", "two")
    waiting.reached("one")
    process.send_signal(number)
    waiting.end(process, -number)
    waiting.open("one")
    assert waiting.finished().run.status == "failed"
    assert waiting.log("two") == "1\n"
    assert len(waiting.machines()) == 1


def test_closing_the_terminal_leaves_the_run(waiting):
    terminal = waiting.terminal("run", "two")
    waiting.reached("one")
    terminal.close(force=False)
    waiting.open("one")
    assert waiting.finished().run.exit_code == 3


def test_the_shell_that_started_it_may_end(waiting):
    """Its whole session, as a terminal that closes does it."""
    process = waiting.start("run", "two", start_new_session=True)
    waiting.reached("one")
    os.killpg(process.pid, signal.SIGKILL)
    waiting.end(process, -signal.SIGKILL)
    waiting.open("one")
    assert waiting.finished().run.exit_code == 3


def test_the_working_tree_may_change_meanwhile(waiting):
    waiting.write("code.py", "old")
    waiting.workflows(f"""
        - {{name: one, provider: bash, artifacts: [out], commands: ['{waiting.gate("one")}', 'cp code.py out/x']}}
        - {{name: two, provider: bash, deps: [one], commands: ['cat out/x code.py', 'exit 3']}}
        """)
    process = waiting.start("run", "two")
    waiting.reached("one")
    waiting.write("code.py", "new")
    waiting.workflows("- {name: other, provider: bash, commands: ['true']}")
    waiting.open("one")
    assert waiting.end(process, 3).out == "two | oldold\n"


def test_following_shows_as_much_as_the_log_has(project):
    project.workflows("- {name: work, provider: bash, commands: ['seq 1 1000000']}")
    whole = "".join(f"{n}\n" for n in range(1, 1000001))
    assert project.dstack("run", "work").out == whole
    assert project.dstack("logs", "-a", project.run()).out == whole
    assert project.dstack("logs", project.run()).out == whole


def test_whoever_only_looks_stops_nothing(project):
    project.workflows(f"- {{name: work, provider: bash, commands: ['echo here', '{project.gate('g')}']}}")
    project.dstack("run", "work", "-d")
    project.reached("g")
    looking = project.start("logs", "-a", project.run())
    assert looking.stdout.readline() == "here\n"
    looking.send_signal(signal.SIGINT)
    project.end(looking, 130)
    project.open("g")
    assert project.finished().run.status == "done"
