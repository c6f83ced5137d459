"""`${{ }}`: what is a reference, and plain filling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core._workflow.template import NAMES, Reference, escape, fill, references
from dstack_core.errors import InputError

VALUES = {"run.name": "x-1", "run.args": ["a b", "c"], "secrets.A": "s", "env.B": "${{ run.name }}", "job.port_0": "80"}


def test_references():
    text = "a ${{ run.name }} ${{env.B}} ${{\tsecrets.A }} ${{ job.port_12 }} ${{ run_args }} $${{ run.x }} $x ${y}"
    found = references(text)
    assert [r.name for r in found] == ["run.name", "env.B", "secrets.A", "job.port_12", "run.args"]
    assert found[0] == Reference("run.name", 2, 17)
    assert text[found[1].start : found[1].end] == "${{env.B}}"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_and_its_2023_spelling(name):
    assert [r.name for r in references(f"${{{{ {name} }}}} ${{{{ {name.replace('.', '_')} }}}}")] == [name, name]


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("${{ run.nam }}", "line 1, column 1", "did you mean `run.name`?"),
        ("x\n  ${{ job.prot_0 }}", "line 2, column 3", "known are"),
        ("${{ secret.A }}", "line 1, column 1", "known are"),
        ("${{ secrets. }}", "line 1, column 1", "known are"),
        ("${{ secrets.1 }}", "line 1, column 1", "known are"),
        ("a ${{", "line 1, column 3", "`$${{`"),
        ("${{ }}", "line 1, column 1", "`$${{`"),
        ("${{ run.name }", "line 1, column 1", "`$${{`"),
        ("${{ run.name\n}}", "line 1, column 1", "`$${{`"),
        ("${{ a b }}", "line 1, column 1", "`$${{`"),
        ("${{ ${{ run.name }} }}", "line 1, column 1", "`$${{`"),
    ],
)
def test_no_references(text, where, hint):
    for call in (references, lambda t: fill(t, VALUES), lambda t: fill(t, VALUES, "plain")):
        with pytest.raises(InputError) as caught:
            call(text)
        assert caught.value.where == where
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("a${{ run.name }}b", "ax-1b"),
        ("${{ run.args }}", "a b c"),
        ("${{ env.B }}", "${{ run.name }}"),
        ("$${{ run.name }}", "${{ run.name }}"),
        ("$$${{ x }}${{ secrets.A }}$$", "$${{ x }}s$$"),
        ("", ""),
        ("}} {{ $ ${x}", "}} {{ $ ${x}"),
    ],
)
def test_plain(text, filled):
    assert fill(text, VALUES, "plain") == filled


def test_a_reference_without_a_value():
    with pytest.raises(InputError) as caught:
        fill("${{ secrets.AA }}", VALUES, "plain")
    assert caught.value.hint == "did you mean `secrets.A`?"


@given(st.text(alphabet="${} a\n"))
def test_escaped_text_comes_back(text):
    assert fill(escape(text), {}, "plain") == text
    assert references(escape(text)) == []


@given(st.text(alphabet="${} a.run_name\n", max_size=40))
def test_any_text_is_filled_or_refused(text):
    try:
        filled = fill(text, {"run.name": "V"}, "plain")
    except InputError as error:
        assert error.where  # noqa: PT017
    else:
        assert len(filled) <= len(text)
