"""The reference page is true: its blocks resolve, its tables name what exists."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from dstack_provider_bash.provider import BashProvider

from dstack_core._workflow.load import load_workflows
from dstack_core._workflow.options import COMMON
from dstack_core._workflow.own import OwnProperties
from dstack_core._workflow.resolve import resolve
from dstack_core._workflow.template import NAMES
from dstack_core.errors import InputError
from dstack_core.models import Dep, Gpu, Retry

PAGE = (Path(__file__).parents[3] / "docs/reference/workflow-file.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)]


def resolved(project, block):
    loaded = load_workflows(project.write(block).root)
    assert loaded.problems == []
    assert loaded.names()
    jobs = [job for name in loaded.names() for job in loaded.jobs(name)]
    return {job: resolve(loaded.get(job), OwnProperties(BashProvider()), {}, (), {}) for job in jobs}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_resolves(project, block):
    resolved(project, block)


def block_with(text: str) -> str:
    (block,) = (b for b in BLOCKS if text in b)
    return block


def test_both_ways_to_write_deps_are_the_same(project):
    found = resolved(project, block_with("the-same-in-short"))
    assert found["train"].deps == found["the-same-in-short"].deps
    assert found["train"].deps[3] == Dep("tag", "v2", "octo/datasets")


def test_the_values_that_the_text_names(project):
    env = resolved(project, block_with("as-a-mapping"))
    assert env["as-a-mapping"].env["LR"] == env["train"].env["LR"] == "0.10"
    assert env["as-a-mapping"].env["DEBUG"] == "yes"
    gpus = resolved(project, block_with("by-name-and-memory"))
    assert gpus["by-name-and-memory"].resources.gpu == Gpu(2, "V100", 16 << 30)
    raw = load_workflows(project.root).get("by-name-and-memory")
    for given, gpu in (("4", Gpu(4, "V100", 16 << 30)), ("A100", Gpu(1, "A100"))):
        assert resolve(raw, OwnProperties(BashProvider()), {"gpu": given}, (), {}).resources.gpu == gpu
    assert resolved(project, block_with("backoff"))["train"].retry == Retry(3, ("failed",), 30.0)


def test_every_property_option_and_reference_is_on_the_page():
    from dstack_core._workflow.schema import PROPERTIES, RESOURCES

    for name in (*PROPERTIES, *RESOURCES):
        assert re.search(rf"^\| \[?`{name}`", PAGE, re.MULTILINE), name
    for option in COMMON:
        assert all(re.search(rf"`{flag}[` ]", PAGE) for flag in (*option.flags, *option.off_flags)), option.flags
    assert set(re.findall(r"^\| `(run\.\w+|job\.[a-z]+)` \|", PAGE, re.MULTILINE)) == set(NAMES)


def test_the_errors_that_it_shows(project):
    comands = "comands: [x]"
    message = project.error(lambda: project.one(comands), InputError)
    assert "unknown property `comands` | did you mean `commands`?" in message
    message = project.error(lambda: project.one("resources: {memory: 16}"), InputError)
    assert "`resources.memory`: `16` has no unit | write `16GB` or `16MB`" in message
