"""Dataclasses to JSON and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core.codec import dumps, from_plain, loads, to_plain
from dstack_core.models import Artifact, ArtifactSpec, Gpu, JobSpec, Requirements, Retry, Workflow

names = st.text(max_size=20)
numbers = st.integers(0, 2**60)
specs = st.builds(
    JobSpec,
    argv=st.lists(names).map(tuple),
    script=names,
    env=st.dictionaries(names, names),
    python=st.none() | names,
    artifacts=st.lists(st.builds(ArtifactSpec, names, st.booleans())).map(tuple),
    requirements=st.builds(
        Requirements,
        cpu=st.none() | st.floats(0, 1e6),
        memory=st.none() | numbers,
        gpu=st.none() | st.builds(Gpu, st.integers(0, 9), st.none() | names, st.none() | numbers),
        interruptible=st.booleans(),
    ),
    retry=st.builds(Retry, st.integers(1, 9), st.lists(names).map(tuple), st.floats(0, 1e6)),
    max_duration=st.none() | st.floats(0, 1e9),
)


@given(specs)
def test_a_job_spec_survives(spec):
    assert loads(JobSpec, dumps(spec)) == spec


@given(st.dictionaries(names, names))
def test_equal_values_give_equal_bytes_whatever_the_order(env):
    turned = dict(reversed(list(env.items())))
    assert dumps(JobSpec((), env=env)) == dumps(JobSpec((), env=turned))


def test_defaults_are_left_out():
    assert to_plain(Workflow("a", "bash")) == {"name": "a", "provider": "bash"}


def test_what_a_newer_version_added_is_ignored():
    assert from_plain(Gpu, {"count": 2, "colour": "green"}) == Gpu(2)


def test_a_whole_number_will_do_for_a_float():
    assert from_plain(Requirements, {"cpu": 2}).cpu == 2.0


@dataclass(frozen=True)
class Folder:
    name: str
    inside: tuple[Folder, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)


def test_a_class_may_refer_to_itself():
    tree = Folder("a", (Folder("b", (Folder("c"),)), Folder("d", sizes={"x": 1})))
    assert loads(Folder, dumps(tree)) == tree


@pytest.mark.parametrize(
    ("plain", "complaint"),
    [
        ([], "Artifact: expected an object, got list"),
        ({"path": 1, "tree": "t"}, "Artifact.path: expected str, got int"),
        ({"path": "p", "tree": "t", "files": True}, "Artifact.files: expected int, got bool"),
        ({"path": "p"}, "missing 1 required positional argument: 'tree'"),
    ],
)
def test_a_wrong_shape_is_named(plain, complaint):
    with pytest.raises(ValueError, match="Artifact") as caught:
        from_plain(Artifact, plain)
    assert complaint in str(caught.value)


def test_a_place_deep_inside_is_named():
    with pytest.raises(ValueError, match=r"JobSpec\.artifacts\[1\]\.path"):
        from_plain(JobSpec, {"argv": [], "artifacts": [{"path": "a"}, {"path": None}]})
