"""The command line of `dstack run WORKFLOW`, with the options of the workflow's provider."""

from __future__ import annotations

from typing import ClassVar, Literal

import pytest
from pydantic import BaseModel, Field

from dstack_core._cli.context import Context
from dstack_core._cli.plan import plan
from dstack_core._cli.run import run
from dstack_core._cli.target import Target, TargetCommand
from dstack_core._content.snapshot import scan_snapshot
from dstack_core._plugins import Plugins
from dstack_core._workflow.options import RESERVED
from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider


class Properties(BaseModel):
    fast: bool = False
    tag: str = ""
    args: str = ""
    force: str = ""
    odd: str = Field("", alias="odd-name")
    mode: Literal["quick", "thorough"] = "quick"


class OwnProvider(Provider):
    short_options: ClassVar[dict[str, str]] = {"fast": "-f"}

    def properties(self) -> type[BaseModel]:
        return Properties

    def job_spec(self, workflow: Workflow) -> JobSpec:
        raise NotImplementedError


@pytest.fixture
def targets(project, monkeypatch) -> list[Target]:
    """What `dstack run` was asked for."""
    (project / ".dstack" / "workflows.yaml").write_text("workflows:\n- {name: work, provider: own}\n")
    seen: list[Target] = []
    monkeypatch.setattr(Plugins, "provider", lambda self, name: OwnProvider())
    monkeypatch.setattr(run, "_act", lambda context, target: seen.append(target))
    return seen


def reserved(command: TargetCommand) -> set[str]:
    return {flag for option in command._options for flag in option.opts} | {"-h", "--help"}


def test_the_commands_options_are_reserved():
    assert reserved(run) | reserved(plan) == RESERVED


@pytest.mark.parametrize(("written", "value"), [("-f", True), ("--fast", True), ("--no-fast", False)])
def test_switch_with_a_short_form(dstack, targets, written, value):
    assert dstack("run", "work", written).code == 0
    assert targets[0].overrides == {"fast": value}


def test_options_of_the_command_are_not_those_of_a_provider(dstack, targets):
    done = dstack("run", "work", "--tag", "best", "--force", "--args", "own", "--odd-name", "x", "an argument")
    assert (done.code, done.err) == (0, "")
    assert targets[0].overrides == {"args": "own", "odd-name": "x"}
    assert (targets[0].options["tag"], targets[0].args) == ("best", ("an argument",))


def test_help_with_a_provider_that_has_properties_of_those_names(dstack, targets):
    done = dstack("run", "work", "--help")
    assert (done.code, done.err) == (0, "")
    assert "-f, --fast / --no-fast" in done.out
    assert "[quick|thorough]" in done.out


@pytest.mark.parametrize("workflow", ["batch", "other"])
def test_provider_that_is_not_installed(dstack, project, monkeypatch, workflow):
    (project / ".dstack" / "workflows.yaml").write_text(f"workflows:\n- {{name: {workflow}, provider: bash}}\n")
    monkeypatch.setattr(Plugins, "listed", lambda self: ())
    done = dstack("run", "bash", "-c", "echo hi")
    assert done.code == 69
    assert "no installed plugin has provider bash; and no workflow `bash`" in done.err
    assert "hint: pip install dstack-provider-bash\n" in done.err


def test_name_that_is_nothing(dstack, project):
    (project / ".dstack" / "workflows.yaml").write_text("workflows:\n- {name: train, provider: bash}\n")
    done = dstack("run", "bsh", "-c", "echo hi")
    assert done.code == 66
    assert "no workflow `bsh`" in done.err
    assert "there are: `train`; for a provider: did you mean bash? If not: pip install dstack-provider-bsh" in done.err
    done = dstack("run", "trian")
    assert (done.code, "provider" in done.err) == (66, False)
    assert "hint: did you mean `train`?\n" in done.err


def test_tag_that_is_nothing(dstack, project, monkeypatch):
    monkeypatch.setattr(Context, "repo", scan_snapshot(project).repo)
    (project / "data").mkdir()
    assert dstack("tags", "add", "mnist-2023", "-a", "data").code == 0
    text = "workflows:\n- {name: train, provider: bash, commands: ['true'], deps: [':mnist-2032']}\n"
    (project / ".dstack" / "workflows.yaml").write_text(text)
    done = dstack("plan", "train")
    assert done.code == 66
    assert ".dstack/workflows.yaml:2:60: there is no tag mnist-2032; did you mean mnist-2023?" in done.err
