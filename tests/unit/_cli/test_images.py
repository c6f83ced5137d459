"""Which executor and which image a planned job gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from dstack_core._cli.images import Images, is_special, only_here
from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import DEFAULT
from dstack_core.errors import JobError, PluginError
from dstack_core.executor import SupportsImages
from dstack_core.models import ArtifactSpec, JobSpec, RegistryAuth

DIGEST = f"sha256:{'1' * 64}"


@dataclass
class Boxes:
    """Knows one image."""

    asked: list[tuple] = field(default_factory=list)
    default_image: str = "usual"

    def digest(self, image, auth=None, *, ask_registry=True):
        self.asked.append((image, auth, ask_registry))
        if image == "unknown":
            raise JobError("there is no image unknown", hint="look")
        return DIGEST if ask_registry else None


def images(executor):
    def make(name, settings):
        if isinstance(executor, Exception):
            raise executor
        return executor

    return Images(Executors(SimpleNamespace(executor=make), DEFAULT))


def test_the_usual_job_loads_nothing():
    spec = images(AssertionError("loaded")).fill("job", JobSpec(("true",)), contained=False)
    assert (spec.executor, spec.image) == (DEFAULT.executor, None)
    assert not is_special(spec)


@pytest.mark.parametrize(
    ("fields", "contained", "image"),
    [
        ({"image": "debian"}, False, "debian"),
        ({"executor": "docker"}, False, "usual"),
        ({}, True, "usual"),
        ({"artifacts": (ArtifactSpec("/opt/env"),)}, False, "usual"),
    ],
)
def test_a_container_has_an_image_and_its_digest(fields, contained, image):
    spec = images(Boxes()).fill("job", JobSpec(("true",), **fields), contained=contained)
    assert (spec.executor, spec.image, spec.image_digest) == (DEFAULT.container_executor, image, DIGEST)
    assert is_special(spec)


def test_an_image_is_asked_for_once():
    boxes = Boxes()
    made = images(boxes)
    for name in ("a", "b"):
        made.fill(name, JobSpec(("true",), image="debian"), contained=False)
    assert boxes.asked == [("debian", None, True)]


def test_what_is_not_known_is_told_for_each_job():
    made = images(Boxes())
    for name in ("a", "b"):
        assert made.fill(name, JobSpec(("true",), image="unknown"), contained=False).image_digest is None
    assert {name: error.hint for name, error in made.unknown.items()} == {"a": "look", "b": "look"}


def test_a_secret_is_the_runner_s_business():
    boxes = Boxes()
    made = images(boxes)
    secret, plain = RegistryAuth("me", "${{ secrets.X }}"), RegistryAuth("me", "open")
    for auth in (secret, plain):
        made.fill("job", JobSpec(("true",), image="debian", registry_auth=auth), contained=False)
    assert boxes.asked == [("debian", None, False), ("debian", plain, True)]
    assert not made.unknown


def test_a_plugin_that_is_missing_says_why_it_is_needed():
    made = images(PluginError("no installed plugin has executor docker", hint="pip install dstack-docker"))
    with pytest.raises(PluginError) as failure:
        made.fill("train", JobSpec(("true",), image="debian"), contained=False)
    assert str(failure.value) == "`train` has the image debian, but no installed plugin has executor docker"
    assert failure.value.hint == "pip install dstack-docker"


def test_an_executor_without_images_is_asked_for_none():
    spec = images(object()).fill("job", JobSpec(("true",), executor="own"), contained=False)
    assert (spec.executor, spec.image, spec.image_digest) == ("own", None, None)
    assert isinstance(Boxes(), SupportsImages)


def test_images_that_only_this_machine_has_are_told_once():
    class Local(Boxes):
        def is_only_here(self, image, digest):
            return image == "mine" and digest == DIGEST

    executors = Executors(SimpleNamespace(executor=lambda name, settings: Local()), DEFAULT)
    specs = [JobSpec(("true",), executor="docker", image=image, image_digest=DIGEST) for image in ("mine", "theirs")]
    jobs = [SimpleNamespace(name=name, spec=spec) for name in ("a", "b") for spec in specs]
    (told,) = only_here(executors, jobs)
    assert told.startswith("a, b: the image mine was made on this machine")
    unknown = SimpleNamespace(name="c", spec=JobSpec(("true",), executor="docker", image="mine"))
    assert only_here(executors, [unknown]) == []
