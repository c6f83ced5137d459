"""Options of `dstack run WORKFLOW` as data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Optional

from dstack_provider_bash.provider import BashProvider
from pydantic import BaseModel, Field

from dstack_core._workflow.options import COMMON, OptionSpec
from dstack_core._workflow.own import OwnProperties
from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider


class Everything(BaseModel):
    some_text: str = Field(description="A text.")
    number: int = 1
    ratio: Optional[float] = None  # noqa: UP045
    fast: bool | None = None
    items: Annotated[list[str], Field(min_length=1)] = ["x"]
    mode: Literal["a", "b"] = "a"
    memory: str = ""  # every workflow has that
    nested: dict[str, str] = {}  # no option
    either: int | str = 1  # no option
    class_: str = Field("", alias="class")


class EverythingProvider(Provider):
    short_options: ClassVar[dict[str, str]] = {"some_text": "-s"}

    def properties(self) -> type[BaseModel]:
        return Everything

    def job_spec(self, workflow: Workflow) -> JobSpec:
        raise NotImplementedError


def own(provider: Provider) -> list[OptionSpec]:
    return [option for option in OwnProperties(provider).options if option.own]


def test_bash():
    assert own(BashProvider()) == [
        OptionSpec(
            "commands",
            ("-c", "--commands"),
            "texts",
            "Shell commands, run in order; the first that fails ends the job.",
            own=True,
        ),
        OptionSpec("setup", ("--setup",), "texts", "Shell commands to run before `commands`.", own=True),
    ]


def test_every_kind():
    assert own(EverythingProvider()) == [
        OptionSpec("some_text", ("-s", "--some-text"), "text", "A text.", own=True),
        OptionSpec("number", ("--number",), "integer", "", "NUMBER", own=True),
        OptionSpec("ratio", ("--ratio",), "number", "", "NUMBER", own=True),
        OptionSpec("fast", ("--fast",), "flag", "", "TEXT", ("--no-fast",), own=True),
        OptionSpec("items", ("--items",), "texts", "", own=True),
        OptionSpec("mode", ("--mode",), "text", "", choices=("a", "b"), own=True),
        OptionSpec("class", ("--class",), "text", "", own=True),
    ]


class Colliding(BaseModel):
    tag: str = ""  # of the command
    help: str = ""
    env: str = ""  # every workflow has that
    epochs: int = 1
    ratio: float = 1
    no_fast: bool = False
    fast: bool = False


class CollidingProvider(EverythingProvider):
    short_options: ClassVar[dict[str, str]] = {"tag": "-x", "epochs": "-e", "ratio": "-x"}

    def properties(self) -> type[BaseModel]:
        return Colliding


def test_what_is_taken_keeps_its_meaning_and_costs_an_option_no_more_than_that_way_to_write_it():
    assert [(option.name, option.flags, option.off_flags) for option in own(CollidingProvider())] == [
        ("tag", ("-x",), ()),
        ("epochs", ("--epochs",), ()),
        ("ratio", ("--ratio",), ()),
        ("no_fast", ("--no-fast",), ("--no-no-fast",)),
        ("fast", ("--fast",), ()),
    ]


def test_flags_are_unique_and_every_option_has_help():
    flags = [flag for option in OwnProperties(BashProvider()).options for flag in (*option.flags, *option.off_flags)]
    assert len(flags) == len(set(flags))
    assert all(option.help.endswith(".") for option in OwnProperties(BashProvider()).options)


def test_every_scalar_property_has_an_option():
    from dstack_core._workflow.schema import PROPERTIES, RESOURCES

    singular = {"dep": "deps", "artifact": "artifacts", "input": "inputs"}
    named = {singular.get(option.name, option.name) for option in COMMON}
    # `local` and `remote` say where a whole run goes: options of the command itself. No password on a command line.
    without = {"name", "provider", "help", "resources", "local", "remote", "matrix", "registry_auth"}
    assert {*PROPERTIES, *RESOURCES} - without == named - {"gpu_name", "gpu_memory"}
