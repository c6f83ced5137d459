"""Images of a private registry: who gets them, how often, and which one it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_images import busybox_files, import_image
from docker_registry import PASSWORD, USER, Registry
from dstack_docker import images
from dstack_docker.executor import DockerExecutor

from dstack_core.errors import JobError
from dstack_core.executor import SupportsImageOrigin
from dstack_core.models import RegistryAuth
from dstack_core.testing.executor import Jobs
from dstack_core.testing.waiting import until

AUTH = RegistryAuth(USER, PASSWORD)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Of a user who is logged in nowhere."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    jobs = Jobs(DockerExecutor({}), tmp_path / "jobs")
    yield jobs
    jobs.close()


@pytest.fixture
def image(registry: Registry, engine: str) -> Iterator[str]:
    """An image that only the registry has. Each time another one: what it holds is random."""
    made = import_image("dstack-test-big", [*busybox_files(), ("big", os.urandom(30 << 20))])
    name = registry.push(made, f"team/big:{os.urandom(4).hex()}")
    registry.forget(made)
    yield name
    registry.forget(name)


def executor(jobs: Jobs) -> DockerExecutor:
    assert isinstance(jobs.executor, DockerExecutor)
    return jobs.executor


def test_without_a_login(jobs: Jobs, image: str) -> None:
    for ask in (lambda: executor(jobs).digest(image), lambda: jobs.start("true", image=image)):
        with pytest.raises(JobError, match="does not give you the image") as failure:
            ask()
        assert f"docker login {image.split('/')[0]}" in (failure.value.hint or "")


def test_with_a_wrong_password(jobs: Jobs, image: str) -> None:
    wrong = RegistryAuth(USER, "s3cr3t")
    for ask in (
        lambda: executor(jobs).digest(image, wrong),
        lambda: jobs.start("true", image=image, registry_auth=wrong),
    ):
        with pytest.raises(JobError, match="does not give you the image") as failure:
            ask()
        assert "registry_auth" in (failure.value.hint or "")
        assert "s3cr3t" not in str(failure.value)


def test_it_is_known_before_it_is_here(jobs: Jobs, image: str, registry: Registry) -> None:
    assert executor(jobs).digest(image, ask_registry=False) is None
    digest = executor(jobs).digest(image, AUTH)
    before = len(registry.downloads())
    told: list[tuple[int, int]] = []
    job = jobs.start(
        "ls /big", image=image, image_digest=digest, registry_auth=AUTH, progress=lambda *come: told.append(come)
    )
    assert job.ended() == 0
    assert job.execution.image_digest == digest
    assert any("/blobs/" in path for path in registry.downloads()[before:])
    assert max(total for _, total in told) >= 30 << 20
    assert executor(jobs).digest(image) == digest, "now it is here, and needs no login"
    assert not executor(jobs).is_only_here(image, digest)


def test_what_docker_login_left_will_do(
    jobs: Jobs, image: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(registry.login))
    assert executor(jobs).digest(image)
    assert jobs.run("echo here", image=image) == (0, "here\n")


def test_several_jobs_download_once(jobs: Jobs, image: str, registry: Registry) -> None:
    before = len(registry.downloads())
    outputs: list[tuple[int, str]] = []
    run = lambda: outputs.append(jobs.run("echo here", image=image, registry_auth=AUTH))  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outputs == [(0, "here\n")] * 4
    blobs = [path for path in registry.downloads()[before:] if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 2, "its configuration and its only layer"


def test_who_waits_for_a_download_can_leave(jobs: Jobs, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stopped

    monkeypatch.setattr(images, "LOOK", 0.001)
    with pytest.raises(Stopped):
        jobs.start("true", image=image, registry_auth=AUTH, progress=stop)
    assert jobs.run("echo here", image=image, registry_auth=AUTH) == (0, "here\n")


def test_a_tag_that_moved_does_not_change_what_was_planned(jobs: Jobs, image: str, registry: Registry) -> None:
    planned = executor(jobs).digest(image, AUTH)
    other = import_image("dstack-test-other", [*busybox_files(), ("other", os.urandom(100))])
    registry.push(other, image.partition("/")[2])
    assert executor(jobs).digest(image, AUTH) != planned
    job = jobs.start("ls /big", image=image, image_digest=planned, registry_auth=AUTH)
    assert job.ended() == 0
    assert job.execution.image_digest == planned


def test_no_such_tag(jobs: Jobs, image: str) -> None:
    missing = f"{image.rpartition(':')[0]}:missing"
    for ask in (
        lambda: executor(jobs).digest(missing, AUTH),
        lambda: jobs.start("true", image=missing, registry_auth=AUTH),
    ):
        with pytest.raises(JobError, match=r"there is no image .*:missing"):
            ask()


def test_a_digest_needs_nobody(engine: str) -> None:
    pinned = f"sha256:{'a' * 64}"
    for name in ("python", "python:3.11", "127.0.0.1:1/python"):
        assert DockerExecutor({"host": "unix:///nowhere"}).digest(f"{name}@{pinned}") == pinned


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("python", ("python", "latest")),
        ("ghcr.io/a/b:v1", ("ghcr.io/a/b", "v1")),
        ("localhost:5000/a", ("localhost:5000/a", "latest")),
        ("a:v1@sha256:00", ("a", "sha256:00")),
    ],
)
def test_names(image: str, parts: tuple[str, str]) -> None:
    assert images.split(image) == parts


def test_an_image_that_was_made_here_is_known_by_its_id(jobs: Jobs, busybox: str) -> None:
    digest = executor(jobs).digest(busybox)
    until(lambda: executor(jobs).digest(busybox) == digest, "it stays the same")
    assert jobs.run("echo here", image=busybox, image_digest=digest) == (0, "here\n")
    assert isinstance(executor(jobs), SupportsImageOrigin)
    assert executor(jobs).is_only_here(busybox, digest)
