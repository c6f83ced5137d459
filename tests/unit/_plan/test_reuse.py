"""Reuse: sound under random edits, early cutoff, force, latest, lost and damaged results."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstack_core._plan.job import RunPlan
from dstack_core._plan.reuse import UNSEEN, decide
from dstack_core.codec import dumps, loads


@pytest.fixture
def two(make_scene, wf):
    return make_scene(wf("data"), wf("train", "data"))


def test_a_second_run_reuses_everything_whoever_ran_the_first(two):
    assert two.run("train") == ("data", "train")
    assert two.run("train") == ()
    assert two.decisions("train") == {"data": ("reuse", "same as run-1"), "train": ("reuse", "same as run-1")}


def test_nothing_runs_that_the_target_does_not_need(make_scene, wf):
    scene = make_scene(wf("data"), wf("other", "data"), wf("train", "data"))
    assert scene.run("train") == ("data", "train")
    assert sorted(scene.asked) == ["data", "train"]


def test_a_change_runs_what_depends_on_it_only(make_scene, wf):
    scene = make_scene(wf("data", inputs=("data.py",)), wf("clean", "data"), wf("eval", inputs=("eval.py",)),
                       wf("train", "clean", "eval"), paths={"data.py": "f 1", "eval.py": "f 1"})  # fmt: skip
    scene.run("train")
    scene.change("eval", env={"K": "1"})
    assert scene.run("train") == ("eval", "train")
    assert scene.run("train") == ()


def test_early_cutoff(two):
    two.changes = {"data": "always this"}
    two.run("train")
    two.change("data", env={"COMMENT": "different, with an equal result"})
    assert two.decisions("train") == {
        "data": ("run", "env COMMENT: none -> different, with an equal result"),
        "train": ("later", "decided when data is done"),
    }
    assert two.run("train") == ("data",)
    two.changes = {"data": "something else"}
    two.change("data", env={"COMMENT": "again"})
    assert two.run("train") == ("data", "train")


def test_going_back_to_an_earlier_state_finds_its_result(two):
    states = [{"train.py": f"f {n}"} for n in range(4)]
    for state in states:
        two.paths = state
        two.run("train")
    for n, state in enumerate(states):
        two.paths = state
        assert two.run("train") == ()
        assert two.plan("train").jobs[-1].reused.run == f"run-{n + 1}"


def test_force(two):
    two.run("train")
    assert two.run("train", force_all=True) == ("data", "train")
    assert two.run("train", force=frozenset({"train"})) == ("train",)
    two.changes = {"data": "fixed"}
    two.run("train")
    two.run("train", force=frozenset({"data"}))
    assert two.run("train", force=frozenset({"data"})) == ("data",)
    assert two.decisions("train", force=frozenset({"data"}))["data"] == ("run", "forced")


def test_the_target_without_artifacts_runs_but_upstream_it_is_a_passed_test(make_scene, wf):
    scene = make_scene(wf("check", artifacts=()), wf("deploy", "check", artifacts=()))
    assert scene.run("deploy") == ("check", "deploy")
    assert scene.run("deploy") == ("deploy",)
    assert scene.run("check") == ("check",)
    assert scene.decisions("check") == {"check": ("run", "has no artifacts to reuse")}


def test_what_is_not_reusable_always_runs(make_scene, wf):
    ide = wf("ide")
    scene = make_scene(replace(ide, properties={**ide.properties, "ide": True}), wf("train", "ide"))
    scene.changes = {"ide": "equal"}
    scene.run("train")
    assert scene.decisions("train")["ide"] == ("run", "always runs")
    assert scene.run("train") == ("ide",)


def test_an_image_that_cannot_be_looked_up_is_taken_as_unchanged(make_scene, wf):
    scene = make_scene(replace(wf("train"), image="debian:12"))
    scene.images = {"debian:12": "sha256:1"}
    assert scene.run("train") == ("train",)
    scene.images = {}
    (job,) = scene.plan("train").jobs
    assert (job.decision, job.spec.image_digest) == ("reuse", "sha256:1")
    assert job.reason.endswith(UNSEEN)
    scene.paths["train.py"] = "f 2"
    (job,) = scene.plan("train").jobs
    assert (job.decision, job.spec.image_digest) == ("run", None), "it runs with what the image is then"
    scene.paths["train.py"] = "f 1"
    scene.images = {"debian:12": "sha256:2"}
    assert scene.decisions("train") == {"train": ("run", "image changed: debian:12")}
    scene.images = {}
    scene.change("train", image="debian:13")
    assert scene.decisions("train")["train"][0] == "run"


def test_ad_hoc_runs(make_scene, wf):
    scene = make_scene(wf("bash"), wf("user", "bash"))
    assert scene.run("bash", ad_hoc=True) == ("bash",)
    assert scene.run("bash", ad_hoc=True) == ()
    assert scene.decisions("user")["bash"] == ("run", "never run"), "nobody asked for the workflow of that name yet"
    scene.change("bash", artifacts=())
    assert scene.run("bash", ad_hoc=True) == scene.run("bash", ad_hoc=True) == ("bash",)


def test_reuse_latest_takes_direct_deps_as_they_are_and_runs_the_target(make_scene, wf):
    scene = make_scene(wf("raw"), wf("data", "raw"), wf("train", "data"))
    assert scene.run("train", latest=True) == ("raw", "data", "train"), "nothing there yet"
    scene.paths["train.py"] = "f 2"
    assert scene.decisions("train", latest=True) == {
        "data": ("reuse", "newest result, run-1"),
        "train": ("run", "code changed: train.py"),
    }
    assert scene.asked == ["train", "data"]
    assert scene.decisions("train", latest=True, force=frozenset({"data"}))["data"] == ("run", "forced")


def test_reuse_latest_takes_what_only_another_remote_has(make_scene, wf):
    mine, theirs = make_scene(wf("data"), wf("train", "data")), make_scene(wf("data"))
    theirs.run("data")
    theirs.paths["train.py"] = "f 2"
    mine.others.append(("team", theirs.store))
    job = mine.plan("train", latest=True).job("data")
    assert (job.decision, job.reason) == ("reuse", "newest result, run-1 on team")
    assert job.reused.remote == "team"
    mine.run("data", force_all=True)
    assert mine.plan("train", latest=True).job("data").reused.remote is None, "the run's own store comes first"


def test_an_upstream_job_runs_again_when_its_artifacts_are_gone(two):
    two.run("train")
    tree = two.plan("train").job("data").reused.artifacts[0].tree
    two.store.delete(f"trees/{tree[:2]}/{tree}")
    assert two.decisions("train") == {
        "data": ("run", "its artifacts are no longer stored, or damaged"),
        "train": ("later", "decided when data is done"),
    }


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"[1", b"null", b"\xff\x00", b"[" * 5000, b'{"key": 1}'])
def test_damaged_records_are_passed_over_and_heal(two, rubbish):
    two.run("train")
    for prefix in ("traces/", "latest/"):
        for info in list(two.store.list(prefix)):
            two.store.write(info.key, rubbish)
    assert {decision for decision, _ in two.decisions("train").values()} == {"run"}
    assert two.run("train") == ("data", "train")
    assert two.run("train") == ()


def test_one_of_the_two_records_is_enough(two):
    two.run("train")
    latest = {info.key: two.store.read(info.key).data for info in two.store.list("latest/")}
    for info in list(two.store.list("traces/")):
        two.store.delete(info.key)
    assert two.run("train") == ()
    assert len(latest) == 2


def test_a_trace_with_something_else_than_a_digest_is_not_followed(two):
    two.run("train")
    for prefix in ("traces/", "latest/"):
        for info in list(two.store.list(prefix)):
            trace = json.loads(two.store.read(info.key).data)
            trace["artifacts"][0]["tree"] = "../../../etc/passwd"
            two.store.write(info.key, json.dumps(trace).encode())
    assert two.decisions("train")["data"] == ("run", "its artifacts are no longer stored, or damaged")


def test_traces_of_a_newer_format_are_not_used(two):
    two.run("train")
    for prefix in ("traces/", "latest/"):
        for info in list(two.store.list(prefix)):
            trace = json.loads(two.store.read(info.key).data)
            two.store.write(info.key, json.dumps({**trace, "format": 99}).encode())
    assert two.run("train") == ("data", "train")


def test_the_plan_survives_json_and_the_runner_decides_from_it(two):
    two.changes = {"data": "fixed"}
    two.run("train")
    two.change("data", env={"A": "1"})
    plan = two.plan("train")
    again = loads(RunPlan, dumps(plan))
    assert again == plan
    job = again.job("train")
    inputs = job.inputs({"data": two.artifacts("data", "fixed")})
    assert decide(two.store, again, job, inputs, two.snapshots.get).reused.run == "run-1"
    other = job.inputs({"data": two.artifacts("data", "other")})
    found = decide(two.store, again, job, other, two.snapshots.get)
    assert (found.reused, found.reason) == (None, "input data changed")


FILES = ["a.py", "b.txt", "new.py"]
GLOBS = {None: FILES, ("*.py",): ["a.py", "new.py"], ("a.py",): ["a.py"]}
JOBS = ["data", "clean", "train"]
EDITS = st.lists(
    st.tuples(st.sampled_from(["file", "remove", "env", "inputs"]), st.sampled_from(JOBS), st.integers(0, 2)),
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(list(GLOBS)), min_size=3, max_size=3), st.booleans(), EDITS)
def test_never_reused_when_a_watched_path_an_input_or_the_definition_differs(make_scene, wf, globs, declare, edits):
    """A job's result is a function of all that counts for it, so a wrong reuse shows as a wrong result.

    `declare`: declarations change on the way; then a job reads only what all of them have in common.
    """
    (data, clean, train), above = globs, {"clean": "data", "train": "clean"}
    scene = make_scene(wf("data", inputs=data), wf("clean", "data", inputs=clean), wf("train", "clean", inputs=train),
                       paths={"a.py": "f 0", "b.txt": "f 0"})  # fmt: skip

    def truth(name):
        read = ["a.py"] if declare else GLOBS[scene.workflows[name].inputs]
        content = {path: scene.paths.get(path) for path in read}
        return [name, content, scene.workflows[name].env, name in above and truth(above[name])]

    for what, name, n in [("env", "data", 0), *edits]:
        if what == "file":
            scene.paths[FILES[n]] = f"f {name}"
        elif what == "remove":
            scene.paths.pop(FILES[n], None)
        elif what == "env":
            scene.change(name, env={"N": str(n)})
        elif declare:
            scene.change(name, inputs=list(GLOBS)[n])
        scene.changes = {job: truth(job) for job in JOBS}
        scene.run("train")
        plan = scene.plan("train")
        assert [job.decision for job in plan.jobs] == ["reuse"] * 3, "all of it ran or was reused a moment ago"
        for job in plan.jobs:
            assert job.reused.artifacts == scene.artifacts(job.name, truth(job.name))


def test_the_runner_needs_no_slow_import():
    code = (
        "import sys, dstack_core._plan.reuse, dstack_core._plan.build, dstack_core._plan.fit\n"
        "slow = {'pydantic', 'yaml', 'click', 'rich', 'pathspec', 'logging', 'asyncio', 'difflib', 'urllib.request'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
