"""The base key: what flips it, what must not, and the order of inputs."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core._ledger.traces import Input
from dstack_core._plan.job import PlannedJob, Reused, Source
from dstack_core._plan.key import base_key, definition, overlay
from dstack_core.models import Artifact, ArtifactSpec, Cell, Gpu, JobSpec, Port, RegistryAuth, Requirements, Retry

SPEC = JobSpec(
    ("bash",),
    "echo",
    {"LR": "0.1"},
    ("a",),
    "3.10",
    "ubuntu",
    "src",
    (Port(),),
    (ArtifactSpec("./data"),),
    executor="process",
)
JOB = PlannedJob("train", "train", "me/repo", "bash", SPEC, "w" * 32)
INPUTS = (Input("data", (Artifact("data", "1" * 64),)),)


def key(job=JOB, inputs=INPUTS):
    return base_key(definition(job), inputs)


COUNTS_IN_SPEC = {
    "argv": ("bash", "-e"),
    "script": "echo ",
    "env": {"LR": "0.2"},
    "args": ("a", ""),
    "python": "3.11",
    "image": None,
    "working_dir": None,
    "ports": (Port(80),),
    "artifacts": (ArtifactSpec("data2"),),
    "executor": None,
    "image_digest": "sha256:" + "1" * 64,
    "image_command": True,
}
COUNTS_NOT_IN_SPEC = {
    "requirements": Requirements(cpu=4, gpu=Gpu(2)),
    "retry": Retry(3),
    "max_duration": 60.0,
    "reusable": False,
    "ports": (Port(local=8080, name="web"),),
    "page": "/lab",
    "edits": True,
    "registry_auth": RegistryAuth("me", "${{ secrets.PASSWORD }}"),
}
COUNTS_IN_JOB = {
    "workflow": "train2", "repo": "you/repo", "provider": "docker", "ad_hoc": True, "cell": Cell("train", {"a": "1"}),
}  # fmt: skip
COUNTS_NOT_IN_JOB = {
    "name": "train-1",
    "watched": "v" * 32,
    "sources": (Source("x", "x"),),
    "target": True,
    "forced": True,
    "decision": "later",
    "reason": "never run",
    "reused": Reused("r", "j", "u", 0.0, 0.0),
    "where": "a.yaml:1",
}


def test_the_tables_below_have_every_field():
    assert {f.name for f in fields(JobSpec)} == {*COUNTS_IN_SPEC, *COUNTS_NOT_IN_SPEC}
    assert {f.name for f in fields(PlannedJob)} == {*COUNTS_IN_JOB, *COUNTS_NOT_IN_JOB, "spec"}


@pytest.mark.parametrize("field", COUNTS_IN_SPEC)
def test_field_of_the_spec_flips_the_key(field):
    assert key(replace(JOB, spec=replace(SPEC, **{field: COUNTS_IN_SPEC[field]}))) != key()


@pytest.mark.parametrize("field", COUNTS_NOT_IN_SPEC)
def test_field_of_the_spec_does_not_flip_the_key(field):
    assert key(replace(JOB, spec=replace(SPEC, **{field: COUNTS_NOT_IN_SPEC[field]}))) == key()


@pytest.mark.parametrize("field", COUNTS_IN_JOB)
def test_field_of_the_job_flips_the_key(field):
    assert key(replace(JOB, **{field: COUNTS_IN_JOB[field]})) != key()


@pytest.mark.parametrize("field", COUNTS_NOT_IN_JOB)
def test_field_of_the_job_does_not_flip_the_key(field):
    assert key(replace(JOB, **{field: COUNTS_NOT_IN_JOB[field]})) == key()


def test_spelling_of_the_same_thing_does_not_flip_the_key():
    specs = (ArtifactSpec("data", mount=True),), (ArtifactSpec(".//data"),)
    assert {key(replace(JOB, spec=replace(SPEC, artifacts=a, working_dir="./src/"))) for a in specs} == {key()}
    with_slash = replace(JOB, spec=replace(SPEC, artifacts=(ArtifactSpec("data/"),)))
    assert key(with_slash) != key(), "logs.d and logs.d/ are a file and a folder"


def test_inputs_flip_the_key():
    assert len({
        key(),
        key(inputs=()),
        key(inputs=(Input("data", (Artifact("data", "2" * 64),)),)),
        key(inputs=(Input("data", (Artifact("data2", "1" * 64),)),)),
    }) == 4  # fmt: skip


def test_which_dep_an_input_came_from_and_its_size_do_not_flip_the_key():
    assert key(inputs=(Input("other", (Artifact("data", "1" * 64, 3, 400),)),)) == key()
    assert key(inputs=(*INPUTS, Input("a-passed-test"))) == key()


def test_key_of_inputs_and_definition_cannot_be_confused():
    assert base_key({"a": [["p", "t"]]}, ()) != base_key({"a": []}, (Input("d", (Artifact("p", "t"),)),))


artifacts = st.builds(Artifact, st.sampled_from(["a", "a/b", "a-b", "b"]), st.sampled_from("xyz"))
inputs = st.lists(st.builds(Input, st.just("d"), st.lists(artifacts, max_size=3).map(tuple)), max_size=4)


def lay(order):
    """A model of laying: which artifacts are at each path, the uppermost last."""
    at = {}
    for artifact in order:
        layers = at.setdefault(artifact.path, [])
        if artifact.tree in layers:
            layers.remove(artifact.tree)
        layers.append(artifact.tree)
    return at


@given(inputs)
def test_overlay_keeps_the_order_of_deps_at_one_path(taken):
    flat = [a for i in taken for a in i.artifacts]
    result = overlay(taken)
    assert lay(result) == lay(flat)
    assert len(result) == len({(a.path, a.tree) for a in flat})
    places = [a.path for a in result]
    assert all(not earlier.startswith(f"{later}/") for n, later in enumerate(places) for earlier in places[:n])


def test_later_dep_wins_at_one_path_and_the_key_knows():
    one, two = Input("one", (Artifact("p", "1"),)), Input("two", (Artifact("p", "2"),))
    assert [a.tree for a in overlay((one, two))] == ["1", "2"]
    assert key(inputs=(one, two)) != key(inputs=(two, one))
    elsewhere = Input("elsewhere", (Artifact("q", "3"),))
    assert key(inputs=(one, elsewhere)) == key(inputs=(elsewhere, one))


def test_how_many_cells_run_at_once_does_not_count():
    cells = [Cell("train", {"a": "1"}, most) for most in (None, 2)]
    assert len({key(replace(JOB, cell=cell)) for cell in cells}) == 1
