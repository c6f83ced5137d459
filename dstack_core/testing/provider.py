"""What every provider must do. Subclass `ProviderSuite`, override `provider`, `examples` and `invalid`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dstack_core.codec import dumps, from_plain, loads
from dstack_core.models import ArtifactSpec, JobSpec, Port, Requirements, Retry, Workflow
from dstack_core.provider import Provider

_IMPURE = ("open", "os.", "socket.", "subprocess.", "shutil.", "tempfile.", "urllib.", "time.sleep")


class _Watch:
    """Notes what happens in this thread's process while it is on. An audit hook cannot be removed, so there is one."""

    on = False
    seen: list[str] = []  # noqa: RUF012  the hook is one for the process

    @classmethod
    def hook(cls, event: str, args: tuple[object, ...]) -> None:
        """Note the event if it reaches out of the process."""
        if cls.on and event.startswith(_IMPURE):
            cls.seen.append(event)


class ProviderSuite:
    """Tests of the contract in `dstack_core.provider`.

    Attributes:
        examples: for each, the YAML properties of a workflow with this provider: all kinds that exist.
        invalid: properties that must be refused.
        image: of the workflows; None: they have none.
    """

    examples: Sequence[Mapping[str, Any]] = ()
    invalid: Sequence[Mapping[str, Any]] = ()
    image: str | None = None

    @pytest.fixture
    def provider(self) -> Provider:
        """Override: the provider under test."""
        raise NotImplementedError("override the fixture `provider`")

    @pytest.fixture
    def workflows(self, provider: Provider) -> list[Workflow]:
        """A workflow for each of `examples`, as core makes it."""
        assert self.examples, "give examples"
        schema = provider.properties()
        return [
            Workflow(
                name="w",
                provider="p",
                env={"A": "1", "B": "${{ run.name }}"},
                python="3.11",
                image=self.image,
                working_dir="sub",
                ports=(Port(), Port(8080, 80, "web")),
                artifacts=(ArtifactSpec("data"), ArtifactSpec("model", mount=True)),
                resources=Requirements(cpu=2.0, memory=1 << 30),
                retry=Retry(attempts=2),
                max_duration=60.0,
                args=("--x", "a b"),
                properties=schema.model_validate(example).model_dump(mode="json"),
            )
            for example in self.examples
        ]

    def test_every_property_has_a_help_text(self, provider: Provider) -> None:
        """`dstack run WORKFLOW --help` shows it."""
        schema = provider.properties()
        assert all(field.description for field in schema.model_fields.values())

    def test_unknown_properties_are_refused(self, provider: Provider) -> None:
        """A misspelt property must not be a silent one."""
        for example in self.examples:
            with pytest.raises(ValueError, match="no_such_property"):
                provider.properties().model_validate({**example, "no_such_property": 1})

    def test_invalid_properties_are_refused(self, provider: Provider) -> None:
        """By the schema."""
        for properties in self.invalid:
            with pytest.raises(ValueError):  # noqa: PT011
                provider.properties().model_validate(properties)

    def test_short_options_name_properties(self, provider: Provider) -> None:
        """One letter each, none twice."""
        assert set(provider.short_options) <= set(provider.properties().model_fields)
        letters = list(provider.short_options.values())
        assert all(re.fullmatch("-[A-Za-z]", letter) for letter in letters)
        assert len(set(letters)) == len(letters)

    def test_a_job_spec_can_be_run(self, provider: Provider, workflows: list[Workflow]) -> None:
        """It has a command, made of texts."""
        for workflow in workflows:
            spec = provider.job_spec(workflow)
            assert isinstance(spec, JobSpec)
            assert spec.argv or spec.image_command
            assert all(isinstance(word, str) and word for word in spec.argv)
            assert isinstance(spec.script, str)

    def test_what_every_workflow_has_is_passed_on(self, provider: Provider, workflows: list[Workflow]) -> None:
        """Nothing that the user wrote is lost; a provider may add."""
        for workflow in workflows:
            spec = provider.job_spec(workflow)
            assert spec.env.items() >= workflow.env.items()
            mounted = {
                artifact.path: artifact.mount for artifact in spec.artifacts
            }  # a dev environment mounts them all
            assert all(mounted.get(artifact.path, False) >= artifact.mount for artifact in workflow.artifacts)
            assert mounted.keys() >= {artifact.path for artifact in workflow.artifacts}
            assert spec.ports[len(spec.ports) - len(workflow.ports) :] == workflow.ports
            assert (spec.args, spec.python, spec.working_dir) == (workflow.args, workflow.python, workflow.working_dir)
            assert (spec.requirements, spec.retry) == (workflow.resources, workflow.retry)
            assert (spec.max_duration, spec.image) == (workflow.max_duration, workflow.image)

    def test_a_job_spec_survives_json(self, provider: Provider, workflows: list[Workflow]) -> None:
        """It is stored with the run."""
        for workflow in workflows:
            spec = provider.job_spec(workflow)
            assert loads(JobSpec, dumps(spec)) == spec
            assert from_plain(JobSpec, json.loads(dumps(spec))) == spec

    def test_the_same_workflow_gives_the_same_job(self, provider: Provider, workflows: list[Workflow]) -> None:
        """From another provider object, too: reuse depends on it. The workflow is not changed."""
        for workflow in workflows:
            before = dumps(workflow)
            first = dumps(provider.job_spec(workflow))
            assert dumps(type(provider)().job_spec(workflow)) == first == dumps(provider.job_spec(workflow))
            assert dumps(workflow) == before

    def test_nothing_is_touched(
        self, provider: Provider, workflows: list[Workflow], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No file, process or connection: `dstack plan` must cost nothing and give the same answer everywhere."""
        for workflow in workflows:
            provider.job_spec(workflow)  # imports are allowed, once
        if _Watch.hook not in _hooks:
            sys.addaudithook(_Watch.hook)
            _hooks.append(_Watch.hook)
        _Watch.seen.clear()
        monkeypatch.setattr(_Watch, "on", True)
        for workflow in workflows:
            provider.job_spec(workflow)
        monkeypatch.setattr(_Watch, "on", False)
        assert _Watch.seen == []


_hooks: list[object] = []
