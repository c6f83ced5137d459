"""Runs whose jobs are containers: what is reused, what is said, and that nothing outlives its run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_engine import Engine, missing_programs
from docker_images import busybox_files, import_image
from docker_registry import PASSWORD, USER


def docker(*arguments, host=None):
    address = ["-H", host] if host else []
    return subprocess.run(["docker", *address, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def image(engine: str, busybox: str, python_image: str) -> str:
    return python_image


@pytest.fixture
def own_engine(project, image) -> Iterator[Engine]:
    """An engine that the test may kill; the project uses it."""
    if lacking := missing_programs():
        pytest.skip(f"needs {', '.join(lacking)}")
    made = Engine(Path(tempfile.mkdtemp(prefix="dstack-engine-")))
    saved = subprocess.run(["docker", "save", image], capture_output=True, check=True).stdout
    subprocess.run(["docker", "-H", made.host, "load"], input=saved, capture_output=True, check=True)
    project.env["DOCKER_HOST"] = made.host
    yield made
    made.close()


# --- what is reused -------------------------------------------------------------------------------------------------


def test_a_prepared_conda_environment(project, conda_image):
    """As in 2023: one workflow makes it, others use it. That a container is needed is seen from the path."""
    project.home.mkdir(mode=0o700, exist_ok=True)
    project.workflows(f"""
        - name: prepare
          provider: bash
          image: {conda_image}
          commands: [conda env create -n myenv]
          artifacts: [/opt/conda/envs/myenv]
        - name: use
          provider: bash
          image: {conda_image}
          deps: [prepare]
          commands:
            - conda activate myenv
            - python > said.txt
            - touch /opt/conda/envs/myenv/mine
          artifacts: [said.txt]
    """)
    project.dstack("run", "use")
    assert project.artifact("use", "said.txt").read_text().endswith("in /opt/conda/envs/myenv\n")
    saved = project.artifact("prepare", "/opt/conda/envs/myenv")
    assert os.access(saved / "bin" / "python", os.X_OK)
    assert not (saved / "mine").exists()
    project.dstack("run", "use", "--force", "use")
    assert project.statuses() == {"prepare": "reused", "use": "done"}
    assert project.containers() == []


def test_a_path_that_needs_a_container_gets_one(project, image):
    project.workflows(f"""
        - name: makes
          provider: bash
          image: {image}
          commands: [echo made > /data/set/x]
          artifacts: [/data/set]
        - name: takes
          provider: bash
          deps: [makes]
          commands: [cat /data/set/x]
    """)
    plan = project.dstack("plan", "takes", "--json", "--image", image).out
    assert plan.count('"executor": "docker"') == 2
    assert project.dstack("run", "takes", "--image", image).out == "takes | made\n"
    told = project.dstack("run", "makes", "--executor", "process", expect=65).err
    assert "runs no containers" in told


def test_an_image_whose_tag_moved_runs_again(project, image):
    name = f"dstack-test-moving:{os.urandom(4).hex()}"
    docker("tag", image, name)
    project.workflows(f"""
        - name: job
          provider: bash
          image: {name}
          commands: [echo x > out.txt]
          artifacts: [out.txt]
    """)
    project.dstack("run", "job")
    (attempt,) = project.job("job").attempts
    assert attempt.image_digest == docker("inspect", "--format", "{{.Id}}", image).strip()
    assert "reuse" in project.dstack("plan", "job").out
    other = import_image("dstack-test-moved", [*busybox_files(), ("moved", os.urandom(10))])
    docker("tag", other, name)
    assert f"image changed: {name}" in project.dstack("plan", "job").out
    docker("rmi", name)


def test_what_a_container_did_not_read_runs_nothing_again(project, image):
    project.write("read", "1")
    project.write("unread", "1")
    project.workflows(f"""
        - name: job
          provider: bash
          image: {image}
          commands: [cat read > out.txt]
          artifacts: [out.txt]
    """)
    project.dstack("run", "job")
    project.write("unread", "2")
    assert "reuse" in project.dstack("plan", "job").out
    project.write("read", "2")
    assert "code changed: read" in project.dstack("plan", "job").out


def test_a_private_image_by_registry_auth(project, registry, image):
    name = registry.push(image, "team/private:v1")
    project.env["DOCKER_CONFIG"] = str(project.folder)  # logged in nowhere
    auth = f"registry_auth: {{username: {USER}, password: {PASSWORD}}}"
    workflow = "{{name: {}, provider: bash, image: {}, commands: [echo here], {}}}"
    project.workflows(f"""
        - {workflow.format("open", name, "help: x")}
        - {workflow.format("private", name, auth)}
    """)
    assert "docker login" in project.dstack("run", "open", expect=65).err
    assert project.dstack("run", "private").out == "here\n"
    registry.forget(name)


# --- what is said ---------------------------------------------------------------------------------------------------


def test_without_an_engine_a_plan_is_made_and_a_run_is_not(project, image):
    project.workflows(f"- {{name: job, provider: bash, image: {image}, commands: ['true']}}")
    project.env["DOCKER_HOST"] = f"unix://{project.folder}/none.sock"
    plan = project.dstack("plan", "job")
    assert "never run" in plan.out or "no artifacts" in plan.out
    assert "job: the image is not known: no Docker engine answers at" in plan.err
    refused = project.dstack("run", "job", expect=65)
    assert "no Docker engine answers at" in refused.err
    assert "systemctl start docker" in refused.err
    assert project.runs() == []


def test_an_image_without_the_plugin(project):
    project.workflows("- {name: job, provider: bash, image: debian, commands: ['true']}")
    told = project.dstack("run", "job", expect=69, env={"DSTACK_DISABLED_PLUGINS": "docker"}).err
    assert "`job` has the image debian, but " in told
    assert "docker" in told


def test_too_much_memory_is_told_in_words(project, image):
    project.workflows(f"""
        - name: job
          provider: bash
          image: {image}
          resources: {{memory: 64MB}}
          commands: ["exec python -c 'x = bytearray(300_000_000)'"]
    """)
    assert "out of memory (limit 64 MB)" in project.dstack("run", "job", expect=137).err


def test_a_secret_value_is_in_no_record_of_the_engine(project, image):
    project.workflows(f"""
        - name: job
          provider: bash
          image: {image}
          env: {{TOKEN: "s3cr3t value"}}
          commands: ['echo "$TOKEN" > told.txt', 'until [ -e go ]; do sleep 0.02; done']
          artifacts: [told.txt]
    """)
    process = project.start("run", "job")
    project.wait_for(lambda: project.containers(), "a container")
    listed = docker("ps", "-aq", "--filter", f"label=dstack.attempt={project.containers()[0]}").split()
    assert "s3cr3t" not in docker("inspect", *listed)
    (work,) = (project.home / "work").glob("*/*")
    (work / "code" / "go").touch()
    project.end(process)
    assert project.artifact("job", "told.txt").read_text() == "s3cr3t value\n"


# --- sudden death ---------------------------------------------------------------------------------------------------

WAITS = """
- name: job
  provider: bash
  image: {image}
  commands:
    - touch "started-${{{{ job.attempt }}}}"
    - if [ "${{{{ job.attempt }}}}" = 2 ]; then echo second > out.txt; exit 0; fi
    - trap 'echo stopped > out.txt; exit 1' TERM
    - while true; do sleep 0.05; done
  artifacts: [out.txt]
"""


def started(project, attempt=1):
    """The checkout of the attempt, as soon as its container is at work."""
    found = project.wait_for(lambda: [*(project.home / "work").glob(f"*/*/code/started-{attempt}")], "the job")
    return found[0].parent


def test_the_runner_is_killed(project, image):
    project.workflows(WAITS.format(image=image))
    process = project.start("run", "job")
    started(project)
    (left,) = project.containers()
    project.kill(project.runner())
    project.end(process)
    assert project.artifact("job", "out.txt").read_text() == "second\n"
    assert [attempt.status for attempt in project.job("job").attempts] == ["interrupted", "done"]
    assert project.containers() == []
    assert left.endswith(".1")


def test_runner_and_keeper_are_killed(project, image):
    project.workflows(WAITS.format(image=image))
    process = project.start("run", "job", "-d")
    project.end(process)
    started(project)
    assert len(project.containers()) == 1
    project.kill(project.keeper(), project.runner())
    project.dstack("ps")
    project.finished()
    assert [attempt.status for attempt in project.job("job").attempts] == ["interrupted", "done"]
    assert project.containers() == []


def test_the_engine_is_restarted(project, image, own_engine):
    project.workflows(WAITS.format(image=image))
    process = project.start("run", "job")
    started(project)
    own_engine.stop()
    own_engine.start()
    project.end(process)
    first, second = project.job("job").attempts
    assert (first.status, second.status) == ("interrupted", "done")
    assert "engine" in first.reason
    assert project.containers(own_engine.host) == []


@pytest.mark.parametrize(("how", "status", "kept"), [((), "stopped", True), (("--abort",), "aborted", False)])
def test_a_run_is_told_to_end(project, image, how, status, kept):
    project.workflows(WAITS.format(image=image))
    project.dstack("run", "job", "-d")
    started(project)
    project.dstack("stop", *how, "-y", project.run())
    assert project.finished().run.status == status
    assert project.containers() == []
    assert bool(project.view().artifacts("job")) == kept
    if kept:
        assert project.artifact("job", "out.txt").read_text() == "stopped\n"
