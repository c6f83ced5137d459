"""Every hook is documented in the same way, and a plugin sees exactly the hooks that there are."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

import pytest

from dstack_core import hookspecs
from dstack_core._plugins.kinds import KINDS, OBSERVERS
from dstack_core._plugins.setting import HOOK as SETTINGS

HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "dstack_spec")}


def test_every_hook_is_a_capability_or_an_observer():
    assert set(HOOKS) == {kind.hook for kind in KINDS} | set(OBSERVERS) | {SETTINGS}
    assert len(HOOKS) <= 10


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented(name):
    hook = HOOKS[name]
    text = inspect.getdoc(hook) or ""
    parts = [match[1] for match in re.finditer(r"^([A-Z][a-zA-Z ]+):", text.partition("\n")[2], re.MULTILINE)]
    arguments = list(inspect.signature(hook).parameters)
    expected = ["Called", *(["Arguments"] if arguments else []), "Return", "If it raises", "Since", "Example"]
    assert parts == expected
    assert text.split("\n\n")[0].count("\n") == 0, "one summary line"
    assert re.search(r"^Since: \d+\.\d+\.$", text, re.MULTILINE)
    for argument in arguments:
        assert f"`{argument}`" in text


@pytest.mark.parametrize("name", HOOKS)
def test_example_of_a_hook_implements_it(name):
    text = inspect.getdoc(HOOKS[name]) or ""
    example = ast.parse(textwrap.dedent(text.partition("Example:\n")[2]))
    (function,) = (node for node in example.body if isinstance(node, ast.FunctionDef))
    assert function.name == name
    assert [ast.unparse(decorator) for decorator in function.decorator_list] == ["hookimpl"]
    assert {a.arg for a in function.args.args} <= set(inspect.signature(HOOKS[name]).parameters)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_contracts_stay_small(kind):
    contract = kind.contract_class()
    if contract.__module__.startswith("dstack_core"):
        methods = [name for name, value in vars(contract).items() if callable(value) and not name.startswith("_")]
        assert 1 <= len(contract.__abstractmethods__) <= 5
        assert len(methods) <= 10
