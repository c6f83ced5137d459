"""Looking at real runs and ending them: ps, logs, ls, tags, stop, rm, on a terminal and without one."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pexpect
import pytest

from .conftest import DSTACK

CHAIN = """
- name: data
  provider: bash
  commands:
    - mkdir -p data/raw && echo hello > data/raw/a.txt
    - echo making data
  artifacts:
    - path: data
- name: train
  provider: bash
  deps:
    - workflow: data
  commands:
    - cat data/raw/a.txt
    - echo careful >&2
    - echo model > model.bin
  artifacts:
    - path: model.bin
"""


def ask(project, *arguments):
    """A listing as a program gets it."""
    return json.loads(project.dstack(*arguments, "--json").out)


@pytest.fixture
def trained(project):
    """A finished run of two jobs."""
    project.workflows(CHAIN)
    project.dstack("run", "train")
    return project.run()


@pytest.fixture
def waiting(project):
    """A run whose job is in the middle of its commands."""
    project.workflows(
        f"""
        - name: wait
          provider: bash
          commands:
            - echo begun
            - {project.gate("middle")}
            - exit 7
        """
    )
    project.dstack("run", "-d", "wait")
    project.reached("middle")
    return project.run()


def test_a_run_in_all_its_views(project, trained):
    (row,) = ask(project, "ps")
    assert (row["run"], row["workflow"], row["status"], row["exit_code"]) == (trained, "train", "done", 0)
    jobs = ask(project, "ps", trained)["jobs"]
    assert [(job["job"], job["status"], job["exit_code"]) for job in jobs] == [
        ("data", "done", 0),
        ("train", "done", 0),
    ]
    logs = project.dstack("logs", trained)
    assert (logs.out, logs.err) == ("data  | making data\ntrain | hello\n", "train | careful\n")
    assert project.dstack("logs", trained, "train").out == "hello\n"
    assert [row["path"] for row in ask(project, "ls", trained)] == ["data", "model.bin"]
    assert [row["path"] for row in ask(project, "ls", trained, "-r")] == ["data/raw/a.txt", "model.bin"]
    project.dstack("tags", "add", "best", trained)
    project.dstack("rm", trained, "-y")
    assert ask(project, "ps", "-a") == []
    assert [row["path"] for row in ask(project, "ls", ":best")] == ["model.bin"]


def test_a_reused_job_points_to_its_log(project, trained):
    project.dstack("run", "train")
    again = project.run()
    assert [job["reused_from"] for job in ask(project, "ps", again)["jobs"]] == [f"{trained}/data", f"{trained}/train"]
    hint = re.search(r"train was reused: dstack (.*)", project.dstack("logs", again).err)[1]
    assert project.dstack(*hint.split()).out == "hello\n"


def test_stop_ends_everything_and_keeps_the_log(project, waiting):
    assert ask(project, "ps")[0]["status"] in ("downloading", "running")
    assert project.dstack("stop", waiting, "-y").out.splitlines()[-1] == f"{waiting}: stopped"
    assert project.dstack("logs", waiting).out == "begun\n"
    assert project.dstack("stop", waiting, "-y").out == f"{waiting} is finished already: stopped\n"


def test_stop_finishes_a_run_whose_runner_is_dead(project, waiting):
    project.kill(project.keeper(), project.runner())
    assert project.dstack("stop", waiting, "-y").out.splitlines()[-1] == f"{waiting}: stopped"
    assert "the log ends early: its runner was killed" in project.dstack("logs", waiting).err


def test_attach_until_the_end_and_exit_with_the_jobs_code(project, waiting):
    attached = project.start("logs", "-a", waiting)
    assert attached.stdout.readline() == "begun\n"
    project.open("middle")
    project.end(attached, 7)
    assert project.dstack("logs", "-a", waiting, expect=7).out == "begun\n"


def test_the_shell_completes_names(project, trained):
    project.dstack("tags", "add", "best", trained)

    def complete(*words):
        asked = {"COMP_LINE": " ".join(("dstack", *words)), "BREAKS": ""}  # as our script for bash asks
        done = project.dstack(env={"_DSTACK_COMPLETE": "bash_complete", **asked}, expect=None)
        assert done.err == ""
        return done.out

    for command in ("ps", "logs", "stop", "rm", "ls", "why"):
        assert trained in complete(command, trained[:3]), command
        assert trained not in complete(command, "zzz"), command
    assert "train" in complete("why", trained, "tr")
    assert complete("why", "zzz", "tr").strip() == ""
    assert "best" in complete("tags", "delete", "be")
    assert ":best" in complete("ls", ":")
    store = project.home / "store"
    store.rename(store.with_name("elsewhere"))
    store.write_text("in the way")
    assert complete("logs", "").strip() == ""
    store.unlink()


def test_watch_without_a_terminal_prints_changes(project, waiting):
    watch = project.start("ps", "-w", "--json")
    assert json.loads(watch.stdout.readline())["run"] == waiting
    project.dstack("stop", waiting, "-y", "-x")
    statuses = []
    while "aborted" not in statuses:
        statuses.append(json.loads(watch.stdout.readline())["status"])
    watch.send_signal(signal.SIGINT)
    assert project.end(watch).said == ""


def test_watch_on_a_terminal_redraws(project, waiting):
    watch = project.terminal("ps", "-w")
    watch.expect(waiting)
    watch.expect("running")
    project.dstack("stop", waiting, "-y", "-x")
    watch.expect("aborted")
    watch.sendintr()
    watch.expect(pexpect.EOF)
    watch.wait()  # it may not have ended yet, and `close` would kill it
    watch.close()
    assert watch.exitstatus == 0


def test_stop_asks_on_a_terminal(project):
    # It takes its time to end: what is over at once is not seen to be stopping.
    told = project.sync / "told"
    commands = json.dumps([f"trap 'touch {told}' TERM", project.gate("middle")])
    project.workflows(f"- {{name: wait, provider: bash, commands: {commands}}}")
    project.dstack("run", "-d", "wait")
    project.reached("middle")
    waiting = project.run()
    stop = project.terminal("stop", waiting)
    stop.expect_exact(f"Stop {waiting}? [y/N]")
    stop.sendline("n")
    stop.expect(pexpect.EOF)
    stop.wait()  # it may not have ended yet, and `close` would kill it
    stop.close()
    assert stop.exitstatus == 130
    assert ask(project, "ps")[0]["status"] == "running"
    stop = project.terminal("stop", waiting)
    stop.expect_exact("[y/N]")
    stop.sendline("y")
    stop.expect("stopping")
    project.wait_for(told.exists, "the job to be told")  # one that ends before is done, and not stopped
    project.open("middle")
    stop.expect(f"{waiting}: stopped")
    stop.expect(pexpect.EOF)
    stop.wait()  # it may not have ended yet, and `close` would kill it
    stop.close()
    assert stop.exitstatus == 0


def test_no_colour_where_none_is_wanted(project, trained):
    plain = project.terminal("ps", env={"NO_COLOR": "1"})
    plain.expect(pexpect.EOF)
    assert "done" in plain.before
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain.before)
    coloured = project.terminal("ps", env={"TERM": "xterm-256color"})
    coloured.expect(pexpect.EOF)
    assert re.search(r"\x1b\[[0-9;]*32m", coloured.before)


def test_half_a_reader_is_no_error(project, trained):
    done = subprocess.run(
        ["bash", "-c", f"{DSTACK} logs {trained} --json | true; echo ${{PIPESTATUS[0]}}"],
        cwd=project.root, env=project.env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""


def test_a_run_is_tagged_when_it_is_done(project):
    project.workflows(CHAIN)
    project.dstack("run", "train", "-t", "best")
    first = project.run()
    assert [(tag["tag"], tag["run"]) for tag in ask(project, "tags")] == [("best", first)]
    project.dstack("run", "train", "-t", "best")
    assert [(tag["tag"], tag["run"]) for tag in ask(project, "tags")] == [("best", project.run())]
    assert [row["path"] for row in ask(project, "ls", ":best")] == ["model.bin"]
