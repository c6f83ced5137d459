"""Why a job runs, word by word."""

import json
from dataclasses import replace

import pytest

from dstack_core._plan.learned import Use, learned
from dstack_core.models import ArtifactSpec


@pytest.fixture
def scene(make_scene, wf):
    scene = make_scene(
        wf("data", inputs=("data.py",)),
        wf("train", "data", env={"LR": "0.1", "HF_TOKEN": "abc"}, python="3.10", args=("1",)),
        paths={"data.py": "f 1", "train.py": "f 1", **{f"{c}.py": "f 1" for c in "abcdef"}},
    )
    scene.run("train")
    return scene


def why(scene, name="train"):
    return scene.decisions("train")[name][1]


def test_never_run(make_scene, wf):
    scene = make_scene(wf("data"), wf("train", "data"))
    assert scene.decisions("train") == {"data": ("run", "never run"), "train": ("run", "never run")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"env": {"LR": "0.2", "HF_TOKEN": "abc"}}, "env LR: 0.1 -> 0.2"),
        ({"env": {"HF_TOKEN": "abc"}}, "env LR: 0.1 -> none"),
        ({"env": {"LR": "0.1", "HF_TOKEN": "abc", "N": "x\x1b[31m\n"}}, "env N: none -> x\\x1b[31m\\n"),
        ({"env": {"LR": "1" * 99, "HF_TOKEN": "abc"}}, f"env LR: 0.1 -> {'1' * 37}..."),
        ({"env": {"LR": "0.1", "HF_TOKEN": "def"}}, "env HF_TOKEN changed"),
        ({"python": "3.11"}, "python 3.10 -> 3.11"),
        ({"python": None}, "python 3.10 -> none"),
        ({"args": ("2", "3")}, "args: 1 -> 2 3"),
        ({"properties": {"commands": ["other"]}}, "command changed"),
        ({"provider": "docker"}, "provider bash -> docker"),
        ({"artifacts": (ArtifactSpec("elsewhere"),)}, "artifacts changed"),
        ({"args": (), "python": "3.11"}, "args: 1 -> none; python 3.10 -> 3.11"),
    ],
)
def test_definition_changed(scene, change, words):
    scene.change("train", **change)
    assert why(scene) == words


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"train.py": "f 2"}, "code changed: train.py"),
        ({"train.py": "f 2", "a.py": "x 1", "new.py": "f 1"}, "code changed: a.py, new.py, train.py"),
        ({f"{c}.py": "f 2" for c in "abcdef"}, "code changed: a.py, b.py and 4 more"),
        ({"bad\x1bname": "f 1"}, "code changed: bad\\x1bname"),
    ],
)
def test_code_changed(scene, paths, words):
    scene.paths.update(paths)
    assert why(scene) == words


def test_code_changed_and_the_old_snapshot_is_gone(scene):
    scene.paths["train.py"] = "f 2"
    scene.snapshots.clear()
    assert why(scene) == "code changed"


def test_a_removed_file_is_a_change(scene):
    del scene.paths["a.py"]
    assert why(scene) == "code changed: a.py"


def test_only_declared_paths_are_named(scene):
    scene.paths.update({"data.py": "f 2", "a.py": "f 2", ".dstack/workflows.yaml": "f 2"})
    assert why(scene, "data") == "code changed: data.py"
    assert why(scene) == "code changed: a.py, data.py", "the workflow file is not code"


def test_declared_anew(scene):
    scene.change("data", inputs=("data.py", "a.py"))
    scene.paths["b.py"] = "f 2"
    assert why(scene, "data") == "code changed: a.py"


def test_input_changed_appeared_and_went(make_scene, wf):
    scene = make_scene(wf("data"), wf("more"), wf("train", "data"))
    scene.changes = {"data": 1, "more": 1}
    scene.run("train")
    scene.run("more")
    scene.run("data", force_all=True)
    scene.changes["data"] = 2
    scene.run("data", force_all=True)
    assert why(scene) == "input data changed"
    scene.workflows["train"] = wf("train", "data", "more")
    assert why(scene) == "input data changed; input more is new"
    scene.workflows["train"] = wf("train", "more")
    assert why(scene) == "input more is new; input data is gone"


def test_forced(scene):
    assert scene.decisions("train", force_all=True)["train"] == ("run", "forced")


def test_a_job_that_waits_still_says_what_is_known_to_have_changed(scene):
    scene.paths["data.py"] = "f 2"
    assert scene.decisions("train")["train"] == ("later", "code changed: data.py")
    scene.change("train", env={"LR": "0.2", "HF_TOKEN": "abc"})
    assert scene.decisions("train")["train"] == ("later", "env LR: 0.1 -> 0.2; code changed: data.py")


def test_recorded_by_another_version(scene):
    for prefix in ("traces/", "latest/"):
        for info in list(scene.store.list(prefix)):
            trace = json.loads(scene.store.read(info.key).data)
            trace["definition"]["format"] = 0
            trace["key"] = "0" * 64
            scene.store.write(info.key, json.dumps(trace).encode())
    assert why(scene, "data") == "recorded by another version of dstack"


@pytest.fixture
def observed(make_scene, wf):
    """`train` was seen to read train.py, in the root, and src/a.py."""
    files = {"train.py": "f 1", "src/a.py": "f 1", "docs/x.md": "f 1"}
    scene = make_scene(wf("train"), paths=files)
    scene.learned = {"train": lambda code: learned(code, Use(["train.py", "src/a.py"], [""]))}
    scene.run("train")
    return scene


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"docs/new.md": "f 1", "docs/x.md": "f 2"}, "same as run-1: nothing that it read has changed (2 of 4 files)"),
        ({"train.py": "f 2", "docs/x.md": "f 2"}, "code changed: train.py"),
        ({"src/new.py": "f 1"}, "code changed: src/new.py"),
        ({"docs/a.py": "f 1"}, "code changed: docs/a.py"),
        ({"new/x": "f 1", "src/a.py": "f 2"}, "code changed: new, src/a.py"),
    ],
)
def test_of_what_was_observed_it_is_said_what_changed(observed, paths, words):
    observed.paths.update(paths)
    assert why(observed) == words


def test_of_what_was_observed_less_is_said_when_the_old_snapshot_is_gone(observed):
    observed.snapshots.clear()
    observed.paths.update({"docs/a.py": "f 1", "src/new.py": "f 1", "new.py": "f 1"})
    assert why(observed) == "code changed: another a, what is in ., what is in src"


def test_the_plan_says_how_many_files_were_read(observed):
    observed.paths["docs/x.md"] = "f 2"
    assert observed.plan("train").jobs[0].reused.read == 2


def test_going_back_to_an_older_state_of_what_was_observed_finds_its_result(observed):
    for n in range(2, 40):
        observed.paths["train.py"] = f"f {n}"
        assert observed.run("train") == ("train",)
    observed.paths.update({"train.py": "f 1", "docs/x.md": "f 9"})
    assert observed.run("train") == ()
    assert observed.plan("train").jobs[0].reused.run == "run-1"


def test_why_all_of_the_code_counts(make_scene, wf):
    scene = make_scene(wf("train"))
    scene.learned = {"train": lambda code: replace(code.watched(None)[0], hindrance="no access times")}
    scene.run("train")
    assert why(scene) == "same as run-1 (all of the code counts: no access times)"
    scene.paths["README.md"] = "f 2"
    assert why(scene) == "code changed: README.md (all of the code counts: no access times)"
