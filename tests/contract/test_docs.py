"""What the documentation shows exists: its Python compiles, its workflows load, its commands have those options."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/**/*.md", "examples/**/*.md", "plugins/*/*.md")
PAGES = sorted({page for pattern in PATTERNS for page in ROOT.glob(pattern)})
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<title>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)[^)]*\)")


TUTORIAL = ROOT / "docs" / "tutorial.md"
EXAMPLE = ROOT / "examples" / "digits" / ".dstack" / "workflows.yaml"


class Block(NamedTuple):
    where: str
    text: str


def _blocks(language: str, *, titled: bool = False) -> list[object]:
    """All blocks in this language; those with a `title=`, files of a package that a test makes, only if `titled`."""
    found = []
    for page in PAGES:
        source = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(source):
            if match["language"] == language and (titled or not match["title"]):
                where = f"{page.relative_to(ROOT)}:{source.count(chr(10), 0, match.start()) + 1}"
                found.append(pytest.param(Block(where, textwrap.dedent(match["text"])), id=where))
    return found


@pytest.fixture(scope="module")
def plugins():
    from dstack_core._plugins import Plugins

    return Plugins.discover()


@pytest.mark.parametrize("block", _blocks("python", titled=True))
def test_python_compiles(block):
    ast.parse(block.text, block.where)


@pytest.mark.parametrize("block", _blocks("yaml"))
def test_workflows_load(block, tmp_path, plugins):
    if "workflows" not in yaml.safe_load(block.text):
        return
    from dstack_core._workflow.load import load_workflows
    from dstack_core._workflow.own import OwnProperties
    from dstack_core._workflow.resolve import resolve

    (tmp_path / ".dstack").mkdir()
    (tmp_path / ".dstack" / "workflows.yaml").write_text(block.text, encoding="utf-8")
    workflows = load_workflows(tmp_path)
    assert workflows.names()
    for name in (job for workflow in workflows.names() for job in workflows.jobs(workflow)):
        raw = workflows.get(name)
        assert resolve(raw, OwnProperties(plugins.provider(raw.provider)), {}, (), {}).name == name


def test_the_tutorial_shows_the_example():
    example = {entry["name"]: entry for entry in yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["workflows"]}
    blocks = [m["text"] for m in FENCE.finditer(TUTORIAL.read_text(encoding="utf-8")) if m["language"] == "yaml"]
    shown = {entry["name"]: entry for block in blocks for entry in yaml.safe_load(block)["workflows"]}
    assert {name: shown.get(name) for name in example} == example


def _commands(text: str) -> list[list[str]]:
    """The words of every `dstack ...` that a reader of this console block types."""
    typed = re.findall(r"^\$ (.*(?:\\\n.*)*)", text, re.MULTILINE)
    simple = [part for line in typed for part in re.split(r"&&|\|\||[|;]", line)]
    words = [shlex.split(part, comments=True) for part in simple]
    return [w for w in words if w[:1] == ["dstack"]]


def _options(command: click.Command, context: click.Context) -> set[str]:
    """How this command's options are written, with those of a bash workflow if it takes a workflow's."""
    from dstack_provider_bash.provider import BashProvider

    from dstack_core._cli.target import TargetCommand
    from dstack_core._workflow.own import OwnProperties

    own = {o for p in command.get_params(context) for o in (*p.opts, *p.secondary_opts)}
    of_workflows = OwnProperties(BashProvider()).options if isinstance(command, TargetCommand) else ()
    return own.union(*(spec.flags + spec.off_flags for spec in of_workflows))


def _check(words: list[str]) -> None:
    """Fail when `words` names a command or an option that does not exist."""
    from dstack_core._cli.group import dstack
    from dstack_core._cli.session import Session

    command: click.Command = dstack
    context = click.Context(dstack, info_name="dstack", obj=Session())
    for word in itertools.takewhile(lambda w: w != "--", words[1:]):
        if word.startswith("-") and len(word) > 1:
            assert word.split("=")[0] in _options(command, context), f"{context.command_path} has no option {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found is not None, f"{context.command_path} has no command {word}"
            command, context = found, click.Context(found, info_name=word, parent=context)


@pytest.mark.parametrize("block", _blocks("console"))
def test_commands_exist(block):
    for words in _commands(block.text):
        _check(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
