"""`dstack code`: what a run was started with, compared and restored."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.fixture
def ran(project):
    project.workflows("""
    - name: one
      provider: bash
      commands: ['true']
    """)
    project.write("train.py", "one\ntwo\n")
    project.write(".gitignore", "ignored\n")
    project.write("ignored", "x")
    project.write("tool.sh", "#!/bin/sh\n", 0o755)
    project.dstack("run", "one")
    return project


def test_diff(ran):
    run = ran.run()
    same = ran.dstack("code", "diff", run)
    assert (same.out, same.err) == ("", f"The code is that of {run}.\n")
    ran.write("train.py", "one\n2\n")
    ran.write("new.py", "new\n")
    (ran.root / "tool.sh").unlink()
    patch = ran.dstack("code", "diff", run).out
    assert "-two\n+2\n" in patch
    assert "\x1b" not in patch
    assert "deleted file mode 100755" in patch
    assert "3 files changed, 2 insertions(+), 2 deletions(-)" in ran.dstack("code", "diff", run, "--stat").out
    rows = json.loads(ran.dstack("code", "diff", run, "--json").out)
    assert [(row["path"], row["change"]) for row in rows] == [
        ("new.py", "added"),
        ("tool.sh", "deleted"),
        ("train.py", "changed"),
    ]
    ran.dstack("run", "one")
    assert ran.dstack("code", "diff", run, ran.run()).out == patch
    subprocess.run(["git", "apply", "-R"], cwd=ran.root, input=patch, text=True, check=True)
    assert ran.dstack("code", "diff", run).out == ""
    assert not list(ran.home.glob("diff-*"))


def test_diff_has_colours_on_a_terminal(ran):
    ran.write("train.py", "one\n2\n")
    child = ran.terminal("code", "diff", ran.run())
    child.expect("\x1b\\[3[12]m")
    child.read()


def test_checkout(ran):
    ran.write("train.py", "changed since\n")
    done = ran.dstack("code", "checkout", ran.run(), str(ran.folder / "copy"))
    assert f"the code of {ran.run()}, 4 files" in done.out
    copy = ran.folder / "copy"
    assert (copy / "train.py").read_text() == "one\ntwo\n"
    assert (copy / "tool.sh").stat().st_mode & 0o100
    assert not (copy / "ignored").exists()
    refused = ran.dstack("code", "checkout", ran.run(), str(copy), expect=73)
    assert "is not empty" in refused.err
    (ran.folder / "empty").mkdir()
    ran.dstack("code", "checkout", ran.run(), ".", cwd=ran.folder / "empty")
    assert sorted(p.name for p in (ran.folder / "empty").iterdir()) == sorted(p.name for p in copy.iterdir())


def test_a_run_that_does_not_exist(ran):
    for command in (["diff", "no-such-1"], ["checkout", "no-such-1", "x"], ["diff", ran.run(), "no-such-1"]):
        ran.dstack("code", *command, expect=66)
