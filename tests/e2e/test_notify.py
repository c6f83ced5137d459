"""A plugin that observes gets its settings, and whatever it does, the run is what it was."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def project(project):
    del project.env["DSTACK_DISABLED_PLUGINS"]
    return project


def configure(project, settings):
    project.home.mkdir(exist_ok=True, mode=0o700)
    (project.home / "config.yaml").write_text(json.dumps({"settings": {"notify": settings}}))


def test_end_of_a_run_is_told(project):
    configure(project, {"command": ["cp", "/dev/stdin", f"{project.sync}/told"], "desktop": False})
    project.dstack("run", "bash", "-c", "exit 3", expect=3)
    told = project.wait_for((project.sync / "told").exists, "the command to be run")
    assert told
    event = project.wait_for(lambda: (project.sync / "told").read_text(), "the event")
    assert json.loads(event)["run"] == project.run()
    assert json.loads(event)["status"] == "failed"


def test_command_that_fails_or_hangs_harms_no_run(project):
    for command in (["false"], ["sleep", "1000"], ["no-such-program"]):
        configure(project, {"command": command, "desktop": False})
        project.dstack("run", "bash", "-c", "true")
        log = project.wait_for(lambda: said(project), "the failure to be logged")
        assert "raised in dstack_run_finished" in log
        assert command[0] in log
        assert project.finished().run.status == "done"
        project.wait_for(lambda: not project.with_argument("dstack_core._runner"), "the runner to end")
        for path in (project.home / "machines").glob("*.log"):
            path.unlink()


def test_settings_that_are_wrong_harm_no_run(project):
    configure(project, {"comand": "true"})
    project.dstack("run", "bash", "-c", "true")
    log = project.wait_for(lambda: said(project), "the mistake to be logged")
    assert "config.yaml:1:" in log
    assert "unknown key `comand`" in log
    shown = project.dstack("config", "--show").out
    assert "there is no such setting" in shown


def said(project):
    logs = "".join(path.read_text() for path in (project.home / "machines").glob("*.log"))
    return logs if "plugin notify" in logs else None
