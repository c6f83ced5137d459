"""What a provider's code does wrong is told as the provider's."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from dstack_core._workflow.own import OwnProperties
from dstack_core.errors import InputError, PluginError
from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider


class Strict(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def check(cls, value: object) -> object:
        raise SystemExit(0)


class Failing(Provider):
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def properties(self) -> type[BaseModel]:
        return Strict

    def job_spec(self, workflow: Workflow) -> JobSpec:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def own(outcome: Any = None) -> OwnProperties:
    return OwnProperties(Failing(outcome), name="odd")


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (RuntimeError("boom"), "RuntimeError: boom"),
        (SystemExit(0), "tried to exit the program"),
        (None, "made NoneType, which is no JobSpec"),
    ],
)
def test_job_that_cannot_be_made(outcome, reason):
    with pytest.raises(PluginError, match=reason) as caught:
        own(outcome).job_spec(Workflow("w", "odd", where="w.yaml:2"))
    assert str(caught.value).startswith("w.yaml:2: provider `odd` failed while it made a job: ")


@pytest.mark.parametrize("outcome", [InputError("not together"), KeyboardInterrupt()])
def test_what_is_no_mistake_of_the_provider_comes_through(outcome):
    with pytest.raises(type(outcome)):
        own(outcome).job_spec(Workflow("w", "odd"))


def test_properties_that_cannot_be_checked():
    with pytest.raises(PluginError, match="provider `odd` failed while it checked its properties: it tried to exit"):
        own().check({})
