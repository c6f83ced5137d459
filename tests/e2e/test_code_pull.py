"""`dstack code pull`: what was edited in a dev environment comes back, while it runs and afterwards.

The environments here are edited by their `setup`, which never gets to the server.
"""

from __future__ import annotations

import json

import pytest

EDITS = "echo edited > train.py; echo new > new.py; rm old.py; mkdir -p build; echo o > build/o"


@pytest.fixture
def edited(project):
    project.write("train.py", "train\n")
    project.write("old.py", "old\n")
    project.write(".gitignore", "build/\n")
    project.write(".dstack/workflows.yaml", f"""workflows:
- name: ide
  provider: lab
  setup: ['{EDITS}', '{project.gate("first")}', 'echo more >> train.py', '{project.gate("second")}', 'exit 0']
- name: plain
  provider: bash
  commands: ["true"]
""")  # fmt: skip
    project.dstack("run", "-d", "ide")
    project.reached("first")
    project.wait_for(lambda: project.job("ide").edits, "the edits to be saved")
    return project


def end(project) -> None:
    project.open("first")
    project.open("second")
    project.finished()


def test_show_bring_and_bring_again(edited):
    run = edited.run()
    shown = edited.dstack("code", "pull", run, "--show").out
    assert "-train\n+edited\n" in shown
    assert "deleted file mode 100644" in shown
    assert "3 files changed" in edited.dstack("code", "pull", run, "--show", "--stat").out
    told = json.loads(edited.dstack("code", "pull", run, "--json").out)
    assert told == {
        "changes": [{"path": "new.py", "change": "added"}, {"path": "old.py", "change": "deleted"},
                    {"path": "train.py", "change": "changed"}],
        "conflicts": [],
    }  # fmt: skip
    assert (edited.root / "train.py").read_text() == "train\n", "so far, it was only looked at"
    assert "3 files changed" in edited.dstack("code", "pull", run, "-y").err
    assert {path.name: path.read_text() for path in edited.root.glob("*.py")} == {
        "train.py": "edited\n", "new.py": "new\n",
    }  # fmt: skip
    assert not (edited.root / "build").exists(), "what is ignored is no code"
    assert "Everything that was edited there is here" in edited.dstack("code", "pull", run).err
    before = edited.job("ide").edits
    edited.open("first")
    edited.wait_for(lambda: edited.job("ide").edits != before, "the next edit to be saved")
    edited.dstack("code", "pull", run, "ide", "-y")
    assert (edited.root / "train.py").read_text() == "edited\nmore\n", "it comes after the first, and is no conflict"
    end(edited)
    assert "Everything" in edited.dstack("code", "pull", run).err, "afterwards, too"


def test_a_conflict_changes_nothing(edited):
    edited.write("train.py", "mine\n")
    done = edited.dstack("code", "pull", edited.run(), "-y", expect=73)
    assert "changed here and there: train.py" in done.err
    assert (edited.root / "old.py").exists()
    edited.dstack("code", "pull", edited.run(), "-y", "--theirs")
    assert (edited.root / "train.py").read_text() == "edited\n"
    end(edited)


def test_what_cannot_be_brought_back(edited):
    run = edited.run()
    done = edited.dstack("code", "pull", run, "idee", expect=66)
    assert "did you mean ide?" in done.err
    end(edited)
    edited.dstack("run", "plain")
    assert "no job of" in edited.dstack("code", "pull", edited.run(), expect=65).err
