"""Runs of this machine and of a remote side by side. The remote's machines are this one, its store another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Project

TWO = """
- {name: data, provider: bash, commands: [date +%N > out.txt], artifacts: [out.txt]}
- {name: train, provider: bash, deps: [data], commands: [cat out.txt > model.txt], artifacts: [model.txt]}
- {name: far, provider: bash, commands: [echo far], resources: {remote: true}}
- {name: below, provider: bash, commands: [echo below], deps: [far]}
"""


@pytest.fixture
def team(project: Project) -> Path:
    """The store of the remote `team`."""
    folder = project.folder / "team"
    project.workflows(TWO)
    project.home.joinpath("config.yaml").write_text(f"remotes: {{team: {{settings: {{local: {{path: {folder}}}}}}}}}\n")
    return folder


def rows(project: Project, *arguments: str) -> list[dict[str, object]]:
    return json.loads(project.dstack(*arguments, "--json").out)


def test_a_run_is_where_it_was_started(project: Project, team: Path) -> None:
    project.dstack("run", "-r", "train", "-t", "best")
    assert not (project.home / "store").exists() or project.runs() == []
    project.dstack("run", "data")
    found = {row["workflow"]: row["remote"] for row in rows(project, "ps", "-a")}
    assert found == {"train": "team", "data": "local"}
    assert "remote" in project.dstack("ps", "-a").out.splitlines()[0].lower()


@pytest.mark.parametrize("arguments", [["-r", "train"], ["-r", "team", "train"], ["train", "--remote", "team"],
                                       ["train", "-r"], ["--remote=team", "train"]])  # fmt: skip
def test_ways_to_say_it(project: Project, team: Path, arguments: list[str]) -> None:
    assert "team" not in project.dstack("plan", *arguments).err
    project.dstack("run", *arguments)
    assert [row["remote"] for row in rows(project, "ps")] == ["team"]


def test_every_command_finds_a_run_of_the_remote(project: Project, team: Path) -> None:
    project.dstack("run", "-r", "train", "-t", "best")
    (run,) = (str(row["run"]) for row in rows(project, "ps"))
    project.write("data.txt", "new")
    assert project.dstack("logs", run).code == 0
    assert "model" in project.dstack("ls", run).out
    assert "model" in project.dstack("ls", ":best").out
    project.dstack("cp", ":best", "model.txt", str(project.folder / "copy"))
    assert (project.folder / "copy").read_text().strip().isdigit()
    assert [row["job"] for row in json.loads(project.dstack("ps", run, "--json").out)["jobs"]] == ["data", "train"]
    assert project.dstack("why", run).code == 0
    assert "data.txt" in project.dstack("code", "diff", run, "--stat").out
    project.dstack("tags", "add", "again", run)
    assert {row["tag"]: row["remote"] for row in rows(project, "tags")} == {"best": "team", "again": "team"}
    project.dstack("tags", "delete", "-y", "again")
    assert "finished already" in project.dstack("stop", "-y", run).out
    project.dstack("rm", "-y", run)
    assert rows(project, "ps", "-a") == []
    assert f"did you mean {run}" not in project.dstack("ps", run, expect=None).err


def test_a_run_of_the_remote_is_stopped(project: Project, team: Path) -> None:
    project.dstack("run", "-d", "-r", "bash", "-c", project.gate("there"))
    project.reached("there")
    (run,) = (str(row["run"]) for row in rows(project, "ps"))
    project.dstack("stop", "-y", run)
    assert [row["status"] for row in rows(project, "ps")] == ["stopped"]


def test_resources_remote(project: Project, team: Path) -> None:
    project.dstack("run", "far")
    assert [row["remote"] for row in rows(project, "ps")] == ["team"]
    project.dstack("run", "far", "--local")
    assert project.view().run.remote == "local"
    done = project.dstack("run", "below", expect=65)
    assert "`far` asks for a remote machine" in done.err
    project.dstack("run", "-r", "below")
    assert rows(project, "ps")[0]["remote"] == "team"


def test_without_a_remote(project: Project) -> None:
    project.workflows(TWO)
    done = project.dstack("run", "far", expect=65)
    assert "workflows.yaml:4:5: `far` asks for a remote machine, and no remote is configured" in done.err
    assert "--local runs it here" in done.err


def test_a_remote_that_cannot_be_opened_is_a_warning(project: Project, team: Path) -> None:
    project.dstack("run", "data")
    project.home.joinpath("config.yaml").write_text("remotes: {team: {artifact_store: nowhere}}\n")
    done = project.dstack("ps")
    assert "data" in done.out
    assert "nowhere" in done.err
    assert project.dstack("logs", project.run()).code == 0
    assert "nowhere" in project.dstack("logs", "no-such-run-1", expect=None).err


def test_two_remotes_with_one_store_are_listed_once(project: Project, team: Path) -> None:
    both = f"settings: {{local: {{path: {team}}}}}"
    project.home.joinpath("config.yaml").write_text(f"remotes: {{team: {{{both}}}, other: {{{both}}}}}\n")
    project.dstack("run", "-r", "other", "data")
    assert [row["remote"] for row in rows(project, "ps")] == ["other"]
