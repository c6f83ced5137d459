"""`dstack ssh`: into running jobs of this machine, as a process and in a container. Elsewhere: `test_tunnel.py`."""

from __future__ import annotations

import pexpect
import pytest


def workflow(gate: str, more: str = "") -> str:
    return f"""
- name: train
  provider: bash
  working_dir: sub
  env: {{COLOUR: "dark red"}}
  commands: ["touch made", "{gate}"]{more}
- name: other
  provider: bash
  deps: [train]
  commands: ["true"]
"""


@pytest.fixture
def started(project):
    """A run whose job is at its gate."""

    def start(gate: str, more: str = "") -> str:
        project.write("sub/given", "")
        project.workflows(workflow(gate, more))
        project.dstack("run", "-d", "other")
        return project.run()

    return start


def check(project, run: str) -> None:
    done = project.dstack("ssh", run, "--", "sh", "-c", 'ls; echo "$COLOUR $1"; exit 7', "-", "a  b", expect=7)
    assert done.out == "given\nmade\ndark red a  b\n"
    shell = project.terminal("ssh", run, "train")
    shell.sendline('tty > /dev/null && ls && echo "it is $COLOUR"')
    shell.expect("given")
    shell.expect("it is dark red")
    shell.sendline("exit 3")
    shell.expect(pexpect.EOF)
    shell.wait()  # it may not have ended yet, and `close` would kill it
    shell.close()
    assert shell.exitstatus == 3


def test_into_a_process(project, started):
    run = started(project.gate("here"))
    project.reached("here")
    project.wait_for(lambda: project.job("train").status == "running", "it to run")
    check(project, run)
    done = project.dstack("ssh", run, "trian", expect=66)
    assert "did you mean train?" in done.err
    assert "other of" in project.dstack("ssh", run, "other", expect=65).err
    assert "cannot start nothing-of-this-name" in project.dstack("ssh", run, "--", "nothing-of-this-name", expect=1).err
    project.open("here")
    project.finished()
    assert "is running: it is done" in project.dstack("ssh", run, expect=65).err


def test_into_a_container(project, started, engine, python_image):
    project.env["DOCKER_HOST"] = engine
    run = started("while [ ! -e /workflow/go ]; do sleep 0.05; done", f"\n  image: {python_image}")
    project.wait_for(lambda: (job := project.job("train")) and job.status == "running", "it to run")
    check(project, run)
    project.dstack("ssh", run, "--", "touch", "/workflow/go")
    assert project.finished().run.status == "done"
