"""What the docker provider makes of its properties. That it runs is for `tests/e2e/test_docker_provider.py`."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from dstack_provider_docker.entrypoint import given_a_script, split
from dstack_provider_docker.provider import ARGS, DockerProvider

from dstack_core.errors import InputError
from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider
from dstack_core.testing.provider import ProviderSuite


class TestDockerProvider(ProviderSuite):
    image = "ubuntu"
    examples: ClassVar[list[dict[str, Any]]] = [
        {},
        {"commands": "echo"},
        {"commands": ["a", "b"]},
        {"entrypoint": "python -m http.server"},
        {"entrypoint": ["bash", "-c"], "commands": ["echo"]},
    ]
    invalid: ClassVar[list[dict[str, Any]]] = [
        {"commands": {"a": "b"}}, {"entrypoint": ""}, {"entrypoint": []}, {"entrypoint": [""]}, {"entrypoint": "a 'b"},
        {"entrypoint": {"a": 1}},
    ]  # fmt: skip

    @pytest.fixture
    def provider(self) -> Provider:
        return DockerProvider()


def spec_of(**properties: Any) -> JobSpec:
    provider = DockerProvider()
    checked = provider.properties().model_validate(properties).model_dump()
    return provider.job_spec(Workflow("w", "docker", image="ubuntu", args=("x",), properties=checked))


def test_an_image_is_needed() -> None:
    with pytest.raises(InputError, match="no image") as told:
        DockerProvider().job_spec(Workflow("w", "docker", where="workflows.yaml:2:5"))
    assert told.value.where == "workflows.yaml:2:5"


def test_the_image_s_own_command() -> None:
    spec = spec_of()
    assert (spec.argv, spec.script, spec.image_command) == ((ARGS,), "", True)


def test_commands_are_a_script_of_sh() -> None:
    spec = spec_of(commands=["echo a", "echo b"])
    assert (spec.argv, spec.script, spec.image_command) == (("sh", "-e"), "echo a\necho b\n", False)


@pytest.mark.parametrize(
    ("entrypoint", "argv"),
    [
        ("/bin/bash -i -c", ("/bin/bash", "-e", "-i")),
        ("bash -lc", ("bash", "-e", "-l")),
        (["tini", "--", "/bin/sh", "-c"], ("tini", "--", "/bin/sh", "-e")),
        ("python3 -u", ("python3", "-u")),
        ("python3 -c", ("python3",)),
    ],
)
def test_an_entry_point_is_given_the_commands_as_a_file(entrypoint: Any, argv: tuple[str, ...]) -> None:
    spec = spec_of(entrypoint=entrypoint, commands="x")
    assert (spec.argv, spec.script) == (argv, "x\n")


def test_an_entry_point_alone() -> None:
    assert spec_of(entrypoint="python train.py").argv == ("python", "train.py", ARGS)
    assert spec_of(entrypoint="train '${{ run.args }}' --seed 1").argv == ("train", "${{run.args}}", "--seed", "1")


def test_references_are_not_parted() -> None:
    assert split("a ${{ run.name }}/x '${{ run.args }} b' c") == ["a", "${{run.name}}/x", "${{run.args}} b", "c"]
    assert given_a_script(["sh"]) == ("sh", "-e")
