"""One dstack folder for many processes at once, and one that cannot be written to."""

from __future__ import annotations

import json
import subprocess

import pytest

from dstack_core._ledger.keys import segment

WORDS = [["run", "two"], ["run", "other"], ["run", "two", "--tag", "best"], ["ps", "-a", "--json"], ["tags", "--json"]]


def test_eight_processes_share_it(project):
    """They run, stop, tag, list and remove at once, from nothing on: even the store is yet to be made."""
    project.workflows("""
        - {name: one, provider: bash, artifacts: [out], commands: ['echo 1 > out/x']}
        - {name: two, provider: bash, deps: [one], artifacts: [end], commands: ['cp out/x end/x']}
        - {name: other, provider: bash, artifacts: [o], commands: ['echo 2 > o/x']}
        """)
    running = [project.start(*words) for words in [*WORDS, ["stop", "-a", "-y"], ["rm", "-a", "-y"], ["run", "two"]]]
    for process in running:
        done = project.end(process, None)
        # 130: it was stopped; 66: a run that it followed was removed.
        assert done.code in (0, 66, 130), done.said
        assert "mistake of ours" not in done.err
    rows = json.loads(project.dstack("ps", "-a", "--json").out)
    assert {row["status"] for row in rows} <= {"done", "stopped"}
    project.wait_for(lambda: not project.processes(), "all processes to end")
    project.dstack("run", "two", "--tag", "best")
    assert "end" in project.dstack("ls", ":best").out


@pytest.fixture
def frozen(project):
    """The project's dstack folder, with a finished run, on a file system that cannot be written to."""
    project.dstack("run", "bash", "-c", "echo 1 > out/x; echo said", "--artifact", "out", "-t", "t")
    project.wait_for(lambda: not project.processes(), "the runner to end")
    run = project.view().run
    project.store.write(f"index/active/{segment(run.repo)}/{segment(run.name)}", b"1")  # a repair to be made
    mount = ["mount", "--bind", project.home, project.home]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    subprocess.run(["mount", "-o", "remount,bind,ro", project.home], check=True)
    yield project
    subprocess.run(["umount", "-l", project.home], check=True)


def test_what_only_looks_works_in_a_home_that_cannot_be_written_to(frozen):
    run = frozen.run()
    for arguments in (["ps", "-a"], ["ps", run], ["logs", run], ["ls", run], ["tags"], ["plan", "bash", "-c", "x"]):
        done = frozen.dstack(*arguments)
        assert done.out
        assert done.err.count("Read-only file system") == (arguments == ["ps", "-a"])
    assert "said" in frozen.dstack("logs", run).out


@pytest.mark.parametrize(
    "arguments",
    [["run", "bash", "-c", "true"], ["rm", "-y", "-a"], ["tags", "delete", "-y", "t"], ["tags", "add", "u"]],
)
def test_what_writes_says_so_in_a_home_that_cannot_be_written_to(frozen, arguments):
    if arguments[:2] == ["tags", "add"]:
        arguments = [*arguments, frozen.run()]
    done = frozen.dstack(*arguments, expect=74)
    assert "Read-only file system" in done.err
    assert "hint: " in done.err
