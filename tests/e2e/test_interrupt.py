"""Ctrl+C."""

from __future__ import annotations

import signal

import pexpect
import pytest


@pytest.fixture
def trap(project):
    """A job that notes when it is asked to end."""
    project.workflows(f"""
        - name: work
          provider: bash
          artifacts: [out]
          commands:
            - trap 'echo asked; echo 1 > out/asked; exit 7' TERM
            - touch {project.sync}/work.there
            - until [ -e {project.sync}/work.open ]; do sleep 0.02; done
        """)
    return project


def attached(project):
    terminal = project.terminal("run", "work")
    project.reached("work")
    terminal.expect("running")
    terminal.sendintr()
    terminal.expect("top it, .*etach from it, .*ontinue")
    return terminal


def code(terminal):
    terminal.expect(pexpect.EOF)
    terminal.wait()  # it may not have ended yet, and `close` would kill it
    terminal.close()
    return terminal.exitstatus


def test_stop(trap):
    terminal = attached(trap)
    terminal.sendline("s")
    assert code(terminal) == 130
    view = trap.finished()
    assert view.run.status == "stopped"
    assert "asked" in trap.log("work")
    assert (trap.artifact("work", "out") / "asked").exists()


def test_detach(trap):
    terminal = attached(trap)
    terminal.sendline("d")
    terminal.expect(f"dstack logs -a {trap.run()}")
    assert code(terminal) == 130
    assert trap.statuses() == {"work": "running"}
    trap.open("work")
    assert trap.finished().run.status == "done"


def test_continue(trap):
    terminal = attached(trap)
    terminal.sendline("what")
    terminal.expect("s, d or c")
    terminal.sendline("c")
    trap.open("work")
    terminal.expect("done in")
    assert code(terminal) == 0
    assert trap.finished().run.status == "done"


def test_the_end_of_input_detaches(trap):
    terminal = attached(trap)
    terminal.sendeof()
    assert code(terminal) == 130
    trap.open("work")
    assert trap.finished().run.status == "done"


def test_twice_means_stop(trap):
    terminal = attached(trap)
    terminal.sendintr()
    assert code(terminal) == 130
    assert trap.finished().run.status == "stopped"
    assert "asked" in trap.log("work")


def test_a_third_time_lets_go_while_it_stops(project):
    told = project.sync / "told"
    project.workflows(f"""
        - {{name: work, provider: bash, commands: ["trap 'touch {told}' TERM", '{project.gate("work")}']}}
        """)
    terminal = attached(project)
    terminal.sendintr()
    terminal.expect("stopping")
    terminal.sendintr()
    assert code(terminal) == 130
    project.wait_for(told.exists, "the job to be told")  # one that ends before is done, and not stopped
    project.open("work")
    assert project.finished().run.status == "stopped"


def test_without_a_terminal_it_means_stop(trap):
    process = trap.start("run", "work")
    trap.reached("work")
    process.send_signal(signal.SIGINT)
    trap.end(process, 130)
    assert trap.view().run.status == "stopped"
    assert (trap.artifact("work", "out") / "asked").exists()
