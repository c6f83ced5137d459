"""Attempts after the first: how many, when, what a dead runner changes, and how it is shown."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def failing(project):
    """Declares a job that fails at its first attempt."""

    def failing(retry: str) -> None:
        project.workflows(f"""
            - name: work
              provider: bash
              retry: {retry}
              commands: ['echo try ${{{{ job.attempt }}}}', 'test ${{{{ job.attempt }}}} != 1']
            """)

    return failing


def waiting(project):
    """The job between its first and its second attempt."""

    def job():
        found = project.job("work")
        return found if found and found.status == "submitted" and found.not_before else None

    return project.wait_for(job, "the first attempt to fail")


def test_retry_on_the_command_line(project):
    done = project.dstack("run", "bash", "--retry", "2", "-c", "test ${{ job.attempt }} = 2")
    assert "bash: attempt 1 of 2 failed: exit code 1; it is tried again" in done.err


def test_the_wait_is_shown(project, failing):
    failing("{attempts: 3, backoff: 1d}")
    project.dstack("run", "work", "-d")
    waiting(project)
    shown = project.dstack("ps", project.run()).out
    assert "attempt 1 of 3 failed: exit code 1" in shown
    assert "in 23 h 59 min" in shown or "in 1 d 0 h" in shown
    (row,) = json.loads(project.dstack("ps", project.run(), "--json").out)["jobs"]
    assert (row["attempt"], row["attempts_allowed"]) == (1, 3)
    assert row["next_try"] > row["finished"]
    project.dstack("stop", project.run(), "-y")


def test_the_wait_is_kept(project, failing):
    failing("{attempts: 3, backoff: 1s}")
    project.dstack("run", "work", "-d")
    project.finished()
    first, second = project.job("work").attempts
    assert (first.status, second.status) == ("failed", "done")
    assert second.started >= first.finished + 1
    assert "work, attempt 2 of 3:" in project.dstack("logs", project.run()).err


def test_a_wait_outlives_the_machine(project, failing):
    failing("{attempts: 2, backoff: 3s}")
    project.dstack("run", "work", "-d")
    until = waiting(project).not_before
    project.kill_all()
    project.dstack("ps")
    assert project.finished().run.status == "done"
    assert project.job("work").attempts[1].started >= until


def test_a_run_that_waits_is_stopped_at_once(project, failing):
    failing("{attempts: 2, backoff: 1d}")
    project.dstack("run", "work", "-d")
    waiting(project)
    project.dstack("stop", project.run(), "-y")
    assert project.statuses() == {"work": "stopped"}
    assert [attempt.status for attempt in project.job("work").attempts] == ["failed"]


@pytest.mark.parametrize(("on", "status"), [("[failure]", "failed"), ("[interruption]", "done")])
def test_a_killed_runner_is_tried_again_only_if_that_is_wanted(project, on, status):
    project.workflows(f"""
        - name: work
          provider: bash
          retry: {{attempts: 2, on: {on}}}
          commands: ['test ${{{{ job.attempt }}}} = 2 || {{ {project.gate("work")}; }}']
        """)
    project.dstack("run", "work", "-d")
    project.reached("work")
    project.kill(project.runner())
    assert project.finished().run.status == status


def test_on_a_terminal_the_countdown_stands_beside_the_job(project, failing):
    failing("{attempts: 3, backoff: 1d}")
    terminal = project.terminal("run", "work")
    terminal.expect("attempt 2 of 3")
    terminal.expect("next try in 23 h 59 min|next try in 24 h|next try in 1 d")
    terminal.sendintr()
    terminal.expect("top it")
    terminal.send("s\n")
    terminal.expect("work: stopped")
