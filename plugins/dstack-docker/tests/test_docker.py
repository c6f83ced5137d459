"""The docker executor beyond the contract: what a container may do, images, Python, and whose files are whose."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_engine import Engine
from docker_images import import_image, python_files
from dstack_docker import leftovers
from dstack_docker.executor import DockerExecutor
from dstack_docker.settings import DockerSettings

from dstack_core.errors import InputError, JobError
from dstack_core.executor import LostError, Task
from dstack_core.models import ArtifactSpec, JobSpec, Requirements
from dstack_core.settings import check_settings
from dstack_core.testing.executor import BEAT, Jobs
from dstack_core.testing.waiting import until

WAIT = "while [ ! -e go ]; do sleep 0.02; done"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def new_jobs(engine: str, tmp_path: Path) -> Iterator[Callable[..., Jobs]]:
    """Starts jobs with an executor of these settings."""
    made: list[Jobs] = []

    def new(**settings: object) -> Jobs:
        made.append(Jobs(DockerExecutor(settings), tmp_path / f"jobs {len(made)}"))
        return made[-1]

    yield new
    for jobs in made:
        jobs.close()


def docker(*arguments: str, host: str | None = None) -> str:
    address = ["-H", host] if host else []
    return subprocess.run(["docker", *address, *arguments], capture_output=True, text=True, check=True).stdout


def containers(label: str, host: str | None = None) -> list[str]:
    return docker("ps", "-aq", "--filter", f"label=dstack.attempt={label}", host=host).split()


def inspected(label: str) -> dict[str, Any]:
    (container,) = containers(label)
    return dict(json.loads(docker("inspect", container))[0])


# --- what a container may do ------------------------------------------------------------------------------------------


def test_a_container_may_do_little(new_jobs: Callable[..., Jobs], busybox: str) -> None:
    asked = Requirements(cpu=0.5, memory=100_000_000, shm_size=10_000_000)
    job = new_jobs().start(
        WAIT, image=busybox, requirements=asked, ports=(34567,), inner_ports=(34567,), env={"TOKEN": "s3cr3t"}
    )
    about = inspected(job.label)
    host = about["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["CapDrop"] == ["ALL"]
    assert not {"SYS_ADMIN", "NET_RAW", "MKNOD", "SYS_PTRACE"} & set(host["CapAdd"])
    assert host["NetworkMode"] == "bridge"
    assert host["PortBindings"] == {"34567/tcp": [{"HostIp": "127.0.0.1", "HostPort": "34567"}]}
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (500_000_000, 100_000_000, 100_000_000)
    assert (host["ShmSize"], host["Init"], host["Privileged"]) == (10_000_000, True, False)
    assert 0 < host["PidsLimit"] <= 16384
    assert "docker.sock" not in json.dumps(about)
    assert "s3cr3t" not in json.dumps(about), "the engine would show it, and write it to its disk"
    (job.root / "go").touch()
    assert job.ended() == 0
    until(lambda: containers(job.label) == [], "it was removed, which nobody waits for")


def test_privileges_cannot_be_gained(new_jobs: Callable[..., Jobs], busybox: str) -> None:
    script = "grep NoNewPrivs /proc/self/status; mknod /tmp/disk b 8 0 2>/dev/null && echo made"
    assert new_jobs().run(f"{script}; true", image=busybox)[1].split() == ["NoNewPrivs:", "1"]


def test_shared_memory_has_its_size(new_jobs: Callable[..., Jobs], busybox: str) -> None:
    _, output = new_jobs().run("df -k /dev/shm", image=busybox, requirements=Requirements(shm_size=128 << 20))
    assert output.splitlines()[-1].split()[1] == str(128 << 10)


def test_what_the_user_configured_is_there(new_jobs: Callable[..., Jobs], busybox: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("given")
    jobs = new_jobs(image=busybox, env={"CA": "/ca.pem"}, mounts=[f"{tmp_path}/data:/data:ro"])
    code, output = jobs.run("cat /data/x; echo $CA; echo more 2>/dev/null > /data/y || echo kept")
    assert (code, output) == (0, "given/ca.pem\nkept\n")


@pytest.mark.parametrize(
    "settings",
    [
        {"imgae": "x"}, {"user": "root"}, {"image": ""}, {"env": ["A=1"]}, {"network": "host"},
        {"mounts": ["relative:/x"]}, {"mounts": ["/var/run/docker.sock:/x"]}, {"mounts": ["/a:/b:rx"]},
    ],
)  # fmt: skip
def test_wrong_settings_are_told(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        check_settings("docker", DockerSettings, settings)


def test_right_settings_are_taken() -> None:
    given = {"user": "image", "env": {"A": "1"}, "mounts": ["/a:/b:ro"], "network": "mine", "host": None}
    assert check_settings("docker", DockerSettings, given) == given


def test_places_that_are_not_a_job_s(engine: str) -> None:
    executor = DockerExecutor({})
    for path in ("/", "/workflow/out", "/scratch", "/proc/1", "/dev/shm"):
        assert "cannot lie there" in (executor.refuses(JobSpec(("true",), artifacts=(ArtifactSpec(path),))) or "")
    told = executor.refuses(JobSpec(("true",), artifacts=(ArtifactSpec("/data/model.pt"),)))
    assert told is not None
    assert "/data" in told
    assert executor.refuses(JobSpec(("true",), artifacts=(ArtifactSpec("/opt/conda/envs/my.env/"),))) is None


# --- output -----------------------------------------------------------------------------------------------------------


def test_output_is_not_kept_in_memory(new_jobs: Callable[..., Jobs], busybox: str) -> None:
    jobs = new_jobs()
    jobs.run("true", image=busybox)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    job = jobs.start("dd if=/dev/zero bs=1M count=300 2>/dev/null; echo end >&2", image=busybox)
    assert job.ended() == 0
    assert (job.out.stat().st_size, job.err.read_text()) == (300 << 20, "end\n")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    job.out.unlink()


def task_in(folder: Path, label: str, argv: tuple[str, ...], output: int, **more: Any) -> Task:
    root, scratch = folder / "root", folder / "scratch"
    root.mkdir()
    scratch.mkdir()
    return Task(
        label=label, argv=argv, root=root, scratch=scratch, working_dir=".", stdout=output, stderr=output, **more
    )


def test_whoever_does_not_read_holds_the_job_up(new_jobs: Callable[..., Jobs], busybox: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    jobs = new_jobs()
    script = tmp_path / "script"
    script.write_text("seq 1 400000; echo end > ended")
    task = task_in(tmp_path, "held-up", ("sh",), write, script=script, image=busybox)
    execution = jobs.executor.start(task)
    os.close(write)
    assert execution.wait(1) is None
    assert not (tmp_path / "root" / "ended").exists()
    data = b""
    while part := os.read(read, 1 << 16):
        data += part
    assert data == "".join(f"{n}\n" for n in range(1, 400001)).encode()
    assert execution.wait(20) == 0
    execution.close()
    os.close(read)


@pytest.mark.timeout(45)  # the engine answers only to whom has read everything: a call of it takes its 60 s then
def test_closing_does_not_wait_for_a_reader(new_jobs: Callable[..., Jobs], busybox: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    task = task_in(tmp_path, "unread", ("yes",), write, image=busybox)
    execution = new_jobs().executor.start(task)
    os.close(write)
    assert execution.wait(0.5) is None
    execution.close()
    assert execution.wait(0) == 137
    assert containers("unread") == []
    os.close(read)


# --- Python -----------------------------------------------------------------------------------------------------------


def test_the_python_of_the_image_will_do(new_jobs: Callable[..., Jobs], python_image: str) -> None:
    show = "python -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'"
    for python in (None, VERSION):
        assert new_jobs().run(show, image=python_image, python=python) == (0, f"{VERSION}\n")


def test_a_python_of_another_name_will_do(new_jobs: Callable[..., Jobs], python_image: str) -> None:
    assert python_image
    files = [(path, source) for path, source in python_files() if path != "usr/bin/python"]
    image = import_image("dstack-test-python3", files)
    assert new_jobs().run("python -c 'print(7)'", image=image, python=VERSION) == (0, "7\n")


def test_conda_makes_the_python_that_the_image_lacks(
    new_jobs: Callable[..., Jobs], conda_image: str, home: Path
) -> None:
    jobs = new_jobs(image=conda_image)
    assert jobs.run("python", python="3.99") == (0, "Python 3.99, in /scratch/python\n")
    assert "create -y -q -p /scratch/python python=3.99 pip" in (home / "cache/containers/conda/calls").read_text()
    with pytest.raises(JobError, match=r"9\.9.*PackagesNotFoundError") as failure:
        jobs.start("true", python="9.9")
    assert failure.value.hint


def test_conda_activate_works_in_a_script(new_jobs: Callable[..., Jobs], conda_image: str, tmp_path: Path) -> None:
    place = {"/opt/conda/envs/myenv": tmp_path / "env"}
    (tmp_path / "env").mkdir()
    jobs = new_jobs(image=conda_image)
    assert jobs.run("bash -e -c 'conda env create -n myenv'", places=place) == (0, "")
    script = "bash -e -c 'conda activate myenv; python'"
    assert jobs.run(script, places=place) == (0, f"Python {VERSION}, in /opt/conda/envs/myenv\n")


def test_an_image_without_that_python_says_what_it_has(new_jobs: Callable[..., Jobs], python_image: str) -> None:
    with pytest.raises(JobError, match=rf"no Python 3\.98 \(it has {VERSION}\.\d+\)") as failure:
        new_jobs().start("true", image=python_image, python="3.98")
    assert "python:3.98" in (failure.value.hint or "")


# --- whose files are whose --------------------------------------------------------------------------------------------

AS_NOBODY = """
import functools, os, sys
from pathlib import Path
from dstack_docker.executor import DockerExecutor
from dstack_core.testing.executor import Jobs
os.umask(0o077)
jobs = Jobs(DockerExecutor({}), Path(sys.argv[1]) / "jobs")
script = "id -u; echo $USER; mkdir out; echo x > out/y; echo z > ~/in-home; test -w /workflow; test ! -w /etc"
job = jobs.start(script, image=sys.argv[2])
code = job.ended()
owners = {os.stat(os.path.join(folder, name)).st_uid for folder, *rest in os.walk(job.root) for name in sum(rest, [])}
print(code, job.out.read_text().split(), owners)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_files_belong_to_whoever_runs_it(engine: str, busybox: str) -> None:
    socket = engine.removeprefix("unix://")
    group = os.stat(socket).st_gid
    folder = tempfile.mkdtemp()
    os.chown(folder, 65534, 65534)
    environ = {**os.environ, "DSTACK_HOME": f"{folder}/home", "HOME": folder, "PYTHONPATH": os.pathsep.join(sys.path)}
    before = os.stat(socket).st_mode
    os.chmod(socket, before | 0o060)
    os.chmod(os.path.dirname(socket), os.stat(os.path.dirname(socket)).st_mode | 0o011)
    try:
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", f"--groups={group}", sys.executable, "-c", AS_NOBODY]
        done = subprocess.run([*as_nobody, folder, busybox], capture_output=True, text=True, env=environ, cwd="/")
        assert done.stdout == "0 ['65534', 'nobody'] {65534}\n", done.stderr
    finally:
        os.chmod(socket, before)
        shutil.rmtree(folder)


def test_the_image_s_own_user(new_jobs: Callable[..., Jobs], busybox: str, tmp_path: Path) -> None:
    """The image says who runs the job; afterwards all files are the caller's."""
    from docker_images import busybox_files

    image = import_image("dstack-test-user", busybox_files(), changes=["USER 1234:1234"])
    folder = tmp_path / "place"
    folder.mkdir()
    job = new_jobs(user="image").start(
        "id -u; mkdir out; echo x > out/y; echo z > /opt/place/z; cat in",
        root=_with_input(tmp_path / "root"), image=image, places={"/opt/place": folder},
    )  # fmt: skip
    assert job.ended() == 0
    assert job.out.read_text() == "1234\nhello"
    for path in (job.root / "out", job.root / "out" / "y", folder / "z", job.root / "in"):
        assert path.stat().st_uid == os.geteuid()


def _with_input(root: Path) -> Path:
    root.mkdir()
    (root / "in").write_text("hello")
    return root


# --- GPUs -------------------------------------------------------------------------------------------------------------


def test_gpus_without_nvidia_s_toolkit(new_jobs: Callable[..., Jobs], busybox: str) -> None:
    if "nvidia" in docker("info"):
        pytest.skip("needs an engine without NVIDIA's toolkit")
    with pytest.raises(JobError, match="NVIDIA's container toolkit") as failure:
        new_jobs().start("true", image=busybox, gpus=(0,))
    assert failure.value.hint


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[Callable[[str], Engine]]:
    """Makes an engine that a test may kill. `path`: where it finds more programs."""
    from docker_engine import missing_programs

    if lacking := missing_programs():
        pytest.skip(f"needs {', '.join(lacking)}")
    made: list[Engine] = []

    def new(path: str = "") -> Engine:
        made.append(Engine(Path(tempfile.mkdtemp(prefix="dstack-engine-")), path))
        return made[-1]

    yield new
    for engine in made:
        engine.close()


def _with_busybox(own: Engine, busybox: str) -> None:
    saved = subprocess.run(["docker", "save", busybox], capture_output=True, check=True).stdout
    subprocess.run(["docker", "-H", own.host, "load"], input=saved, capture_output=True, check=True)


def test_gpus_are_asked_of_nvidia_s_runtime(
    new_jobs: Callable[..., Jobs], own_engine: Callable[[str], Engine], busybox: str, tmp_path: Path
) -> None:
    """Our part of it: which GPUs the engine is asked for. A stand-in for NVIDIA's hook gives none."""
    hook = tmp_path / "bin" / "nvidia-container-runtime-hook"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\ncat > /dev/null\n")
    hook.chmod(0o755)
    own = own_engine(str(hook.parent))
    _with_busybox(own, busybox)
    jobs = new_jobs(host=own.host)
    assert jobs.run("echo $NVIDIA_VISIBLE_DEVICES", image=busybox, gpus=(1, 3)) == (0, "1,3\n")
    assert jobs.run("echo $NVIDIA_VISIBLE_DEVICES", image=busybox) == (0, "\n")


# --- the engine goes away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [15, 9])
def test_an_engine_that_is_restarted_loses_the_job(
    new_jobs: Callable[..., Jobs], own_engine: Callable[..., Engine], busybox: str, number: int
) -> None:
    own = own_engine()
    _with_busybox(own, busybox)
    jobs = new_jobs(host=own.host)
    job = jobs.start(BEAT.format(file="beat"), image=busybox)
    until((job.root / "beat").exists, "the job beat")
    own.stop(number)
    started = threading.Thread(target=own.start)
    started.start()
    with pytest.raises(LostError, match="engine"):
        job.execution.wait(60)
    started.join()
    job.execution.close()
    assert containers(job.label, own.host) == []
    assert jobs.run("echo again", image=busybox) == (0, "again\n")


def test_a_job_that_starts_while_the_engine_is_away_is_lost(
    new_jobs: Callable[..., Jobs], own_engine: Callable[..., Engine], busybox: str
) -> None:
    own = own_engine()
    _with_busybox(own, busybox)
    jobs = new_jobs(host=own.host)
    assert jobs.run("echo here", image=busybox) == (0, "here\n")
    own.stop()
    came = iter([own.start])
    with pytest.raises(LostError, match="engine"):
        jobs.start("true", image=busybox, progress=lambda *_: next(came, lambda: None)())
    assert jobs.run("echo here", image=busybox) == (0, "here\n")


def test_a_container_that_somebody_removes_is_lost(new_jobs: Callable[..., Jobs], busybox: str) -> None:
    job = new_jobs().start("sleep 600", image=busybox)
    docker("rm", "-f", *containers(job.label))
    with contextlib.suppress(LostError):  # when it is gone before its exit code was asked for
        assert job.execution.wait(30) == 137
    job.execution.close()


def test_no_engine(tmp_path: Path, busybox: str) -> None:
    jobs = Jobs(DockerExecutor({"host": f"unix://{tmp_path}/none.sock"}), tmp_path)
    for act in (lambda: jobs.start("true", image=busybox), lambda: jobs.executor.digest(busybox)):  # type: ignore[attr-defined]
        with pytest.raises(JobError, match=r"no Docker engine answers at unix://.*none\.sock") as failure:
            act()
        assert "start" in (failure.value.hint or "")


def test_what_nobody_removed_is_removed_later(
    new_jobs: Callable[..., Jobs], busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "left-by-nobody"
    docker("run", "--label", f"dstack.attempt={label}", busybox, "true")
    new_jobs().run("true", image=busybox)
    assert len(containers(label)) == 1, "it has just ended: perhaps its runner is about to look at it"
    monkeypatch.setattr(leftovers, "AGE", 0.5)
    until(lambda: new_jobs().run("true", image=busybox) and containers(label) == [], "it was removed")


def test_the_default_image_has_conda() -> None:
    assert DockerExecutor({}).default_image == "continuumio/miniconda3"
