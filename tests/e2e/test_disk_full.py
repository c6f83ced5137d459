"""A dstack folder on a disk that is too small."""

from __future__ import annotations

import os
import subprocess

import pytest

MB = 1 << 20


SHORT = "dstack_core._runner.attempt:LOG_PATIENCE:0.3,dstack_core._runner.state:PATIENCE:0.3,"
SHORT += "dstack_core._runner.runner:OUTAGE:0.3"


@pytest.fixture
def small(project):
    """The project's dstack folder is a disk of 24 MB, 8 of which pip takes."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", project.home], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    yield project
    subprocess.run(["umount", "-l", project.home], check=True)


def free(project):
    status = os.statvfs(project.home)
    return status.f_bavail * status.f_frsize


def test_a_job_that_fills_the_disk_fails_with_its_own_code(small):
    small.workflows(
        "- {name: work, provider: bash, artifacts: [out], commands: ['head -c 60M /dev/zero > out/x || exit 9']}"
    )
    done = small.dstack("run", "work", expect=9)
    assert "No space left on device" in done.out
    assert small.statuses() == {"work": "failed"}
    small.wait_for(lambda: free(small) > 12 * MB, "the job's folder to go")


def test_artifacts_that_do_not_fit_into_the_store_fail_the_job_in_words(small):
    small.workflows("- {name: work, provider: bash, artifacts: [out], commands: ['head -c 10M /dev/urandom > out/x']}")
    done = small.dstack("run", "work", expect=1)
    assert "No space left on device" in done.err
    assert "could not be saved" in done.err
    assert small.log("work") == ""
    small.wait_for(lambda: free(small) > 12 * MB, "the job's folder to go")


def test_code_that_cannot_be_checked_out_fails_the_job_in_words(small):
    small.write("large", os.urandom(10 * MB))
    done = small.dstack("run", "bash", "-c", "echo never", expect=1)
    assert done.out == ""
    assert "No space left on device" in done.err


def test_code_that_does_not_fit_into_the_store_is_told_before_anything_runs(small):
    small.write("large", os.urandom(30 * MB))
    done = small.dstack("run", "bash", "-c", "echo never", expect=74)
    assert "No space left on device" in done.err
    assert "free some space" in done.err
    assert small.runs() == []


@pytest.mark.parametrize("left", [0, 4096, 20_000, 60_000, 150_000])
def test_hardly_any_room(small, left):
    """Whatever still fits: an error in words or a run that ends, and once there is room again all is well."""
    small.workflows("- {name: work, provider: bash, artifacts: [out], commands: ['echo hi > out/x']}")
    filler = small.home / "filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(small) - left)
    done = small.dstack("run", "work", expect=None, env=small.faults("runner", set=SHORT))
    assert done.code in (0, 1, 74), done.said
    if done.code:
        assert "No space left on device" in done.err
    filler.unlink()
    small.dstack("ps")
    for run in small.runs():
        small.wait_for(lambda run=run: small.dstack("ps", "-a") and small.view(run).finished, "the run to end")
    small.dstack("run", "work")
