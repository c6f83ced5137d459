"""Runs of this machine and of a remote side by side, and results that go between them. The remote's machines are this
one, its store another folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
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


@pytest.fixture
def colleague(project: Project, team: Path) -> dict[str, str]:
    """Environment of another user of the same code and remote, with a home of their own."""
    home = project.folder / "colleague"
    home.mkdir(mode=0o700)
    shutil.copy(project.home / "config.yaml", home)
    return {"DSTACK_HOME": str(home), "DSTACK_USER": "ann"}


def decisions(project: Project, *arguments: str, env: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    jobs = json.loads(project.dstack("plan", *arguments, "--json", env=env).out)["jobs"]
    return {job["job"]: (job["decision"], job["reason"].partition(":")[0]) for job in jobs}


def test_what_is_pushed_others_need_not_run(project: Project, team: Path, colleague: dict[str, str]) -> None:
    project.dstack("run", "train", "-t", "best", env={**colleague, "DSTACK_HOME": str(project.home)})
    run = project.run()
    assert decisions(project, "train", env=colleague)["train"] == ("run", "never run")
    first = json.loads(project.dstack("push", run, "--json").out)
    assert (first["from"], first["to"]) == ("local", "team")
    assert first["new_bytes"] > 0
    again = json.loads(project.dstack("push", run, "--json").out)
    assert again == {**first, "new_bytes": 0}
    assert "all there already" in project.dstack("push", run).out

    # The colleague sees the run, its logs, artifacts and tag; and takes over what it made.
    (row,) = json.loads(project.dstack("ps", "--json", env=colleague).out)
    assert (row["run"], row["user"], row["tag"]) == (run, "ann", "best")
    assert "train" in project.dstack("ps", run, env=colleague).out
    assert project.dstack("logs", run, env=colleague).out == project.dstack("logs", run).out
    assert "model.txt" in project.dstack("ls", ":best", env=colleague).out
    theirs = {**colleague, "DSTACK_USER": "bob"}
    same = ("reuse", f"same as {run} of ann on team")
    assert decisions(project, "train", env=theirs) == {"data": same, "train": same}
    project.dstack("run", "train", env=theirs)
    copied = project.folder / "copied"
    newest = json.loads(project.dstack("ps", "-n", "1", "--json", env=theirs).out)[0]["run"]
    project.dstack("cp", newest, "model.txt", str(copied), env=theirs)
    assert copied.read_bytes() == (project.artifact("train", "model.txt", run)).read_bytes()
    # What they need of it is on their machine now; what it was made of is where it was.
    assert decisions(project, "train", env=theirs) == {"data": same, "train": ("reuse", f"same as {run} of ann")}
    assert project.dstack("why", newest, "train", env=theirs).code == 0


def test_a_run_of_the_remote_takes_over_what_this_machine_has(project: Project, team: Path) -> None:
    project.dstack("run", "data")
    run = project.run()
    assert decisions(project, "-r", "train") == {
        "data": ("reuse", f"same as {run} on local"),
        "train": ("run", "never run"),
    }
    project.dstack("run", "-r", "train")
    assert decisions(project, "-r", "train")["data"] == ("reuse", f"same as {run}")
    data = project.artifact("data", "out.txt", run).read_text()
    (there,) = (str(row["run"]) for row in rows(project, "ps", "-n", "1"))
    project.dstack("cp", there, "model.txt", str(project.folder / "model"))
    assert (project.folder / "model").read_text() == data


def test_what_nobody_needs_is_not_fetched(project: Project, team: Path, colleague: dict[str, str]) -> None:
    """Of a chain that is reused, the artifacts of its end are enough; and such a run can be pushed and pulled."""
    project.workflows(TWO.replace("date +%N", "head -c 9000 /dev/urandom"))
    project.dstack("run", "train")
    project.dstack("push", project.run())
    project.workflows(TWO.replace("date +%N", "head -c 9000 /dev/urandom").replace("echo far", "echo farther"))
    project.dstack("run", "train", env=colleague)
    (run,) = {row["run"] for row in json.loads(project.dstack("ps", "-a", "--json", env=colleague).out)} - {
        project.run()
    }
    kept = {path.name for path in Path(colleague["DSTACK_HOME"], "store", "objects", "trees").glob("*/*")}
    view = project.view()
    assert view.artifacts("train")[0].tree in kept
    assert view.artifacts("data")[0].tree in kept, "equal bytes: they are the same tree"
    project.dstack("push", str(run), env=colleague)
    assert project.dstack("ls", "-r", str(run)).code == 0


def test_tags_go_both_ways(project: Project, team: Path, colleague: dict[str, str]) -> None:
    folder = project.write("photos/one.txt", "1").parent
    project.dstack("tags", "add", "photos", "-a", os.fspath(folder))
    project.dstack("push", ":photos")
    assert "is there, for other folders" in _changed_photos(project, folder)
    project.dstack("push", ":photos", "--force")
    project.dstack("pull", ":photos", env=colleague)
    shutil.rmtree(team)
    project.dstack("cp", ":photos", "photos/one.txt", str(project.folder / "one"), env=colleague)
    assert (project.folder / "one").read_text() == "2"


def _changed_photos(project: Project, folder: Path) -> str:
    folder.joinpath("one.txt").write_text("2")
    project.dstack("tags", "delete", "-y", "photos")
    project.dstack("tags", "add", "photos", "-a", os.fspath(folder))
    return project.dstack("push", ":photos", expect=73).err


def test_a_tag_of_the_remote_is_a_dep_here(project: Project, team: Path) -> None:
    project.dstack("run", "-r", "data", "-t", "raw")
    project.dstack("run", "bash", "--dep", ":raw", "-c", "cat out.txt")
    assert project.log("bash").strip().isdigit()


def test_pull_and_rm(project: Project, team: Path) -> None:
    project.dstack("run", "-r", "train")
    (run,) = (str(row["run"]) for row in rows(project, "ps"))
    project.dstack("pull", run)
    assert [row["run"] for row in rows(project, "ps", "-a")] == [run], "one run, in two stores"
    assert project.log("train", run=run) == ""
    project.dstack("rm", "-y", run)
    assert [row["remote"] for row in rows(project, "ps", "-a")] == ["team"]
    project.dstack("pull", run)
    assert [row["remote"] for row in rows(project, "ps", "-a")] == ["team"], "where it ran"
    assert project.view(run).status() == "done"
    project.dstack("rm", "-y", run)
    project.dstack("rm", "-y", "-r", "team", run)
    assert rows(project, "ps", "-a") == []


def test_what_cannot_be_pushed_or_pulled(project: Project, team: Path) -> None:
    project.dstack("run", "-d", "bash", "-c", project.gate("going"))
    project.reached("going")
    run = project.run()
    assert f"{run} is not finished" in project.dstack("push", run, expect=65).err
    assert f"did you mean {run}" in project.dstack("push", f"{run[:-1]}7", expect=66).err
    assert "there is no tag nope" in project.dstack("push", ":nope", expect=66).err
    assert f"there is no run {run}" in project.dstack("pull", run, expect=66).err
    assert "that remote is this machine" in project.dstack("push", run, "-r", "local", expect=65).err
    project.open("going")
    project.finished()


def test_a_remote_that_does_not_answer_stops_no_run_here(project: Project, team: Path) -> None:
    project.home.joinpath("config.yaml").write_text("remotes: {team: {artifact_store: nowhere}}\n")
    done = project.dstack("run", "data")
    assert done.err.count("has artifact store nowhere") == 1
    assert project.view().status() == "done"


@pytest.fixture
def mute(project: Project) -> Iterator[list[socket.socket]]:
    """A remote `mute` whose server takes connections and says nothing: those that it took."""
    project.workflows(TWO)
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        thread = threading.Thread(target=take)
        thread.start()
        s3 = {"bucket": "runs", "endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}"}
        remote = {"artifact_store": "s3", "settings": {"s3": s3}}
        project.home.joinpath("config.yaml").write_text(json.dumps({"remotes": {"mute": remote}}))
        project.env.update({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"})
        yield taken
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for one in taken:
        one.close()


def test_a_remote_that_says_nothing_is_asked_once_and_named(project: Project, mute: list[socket.socket]) -> None:
    done = project.dstack("run", "train")
    assert project.view().status() == "done"
    assert done.err.count("warning: the remote mute could not be asked: http://127.0.0.1:") == 1
    assert (done.err.count("warning"), len(mute)) == (1, 1)
    listed = project.dstack("ps")
    assert project.run() in listed.out
    assert listed.err.count("the remote mute could not be asked") == listed.err.count("warning") == 1


def test_offline_nobody_is_asked(project: Project, mute: list[socket.socket]) -> None:
    assert project.dstack("run", "--offline", "data").err.count("warning") == 0
    project.dstack("plan", "--offline", "train")
    assert project.run() in project.dstack("ps", "--offline").out
    assert "contradict" in project.dstack("run", "--offline", "-r", "train", expect=2).err
    refused = project.dstack("run", "--offline", "far", expect=65)
    assert "`far` asks for a remote machine, and --offline for none" in refused.err
    assert "--local runs it here" in refused.err
    project.dstack("run", "--offline", "--local", "far")
    assert project.dstack("ps", "-a", env={"DSTACK_OFFLINE": "1"}).err == ""
    project.dstack("config", "set", "offline", "true")
    assert project.dstack("plan", "train").err == project.dstack("ps").err == ""
    assert "no remote was asked" in project.dstack("logs", "odd-cat-1", expect=66).err
    project.dstack("config", "set", "offline", "perhaps")
    assert "must be true or false" in project.dstack("ps", expect=65).err
    assert mute == []
