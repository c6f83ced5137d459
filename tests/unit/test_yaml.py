"""YAML as plain values: source text of scalars, limits, refusals; the same with and without libyaml."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dstack_core import _yaml as source
from dstack_core.errors import InputError

LOADERS = [yaml.SafeLoader, yaml.CSafeLoader] if yaml.__with_libyaml__ else [yaml.SafeLoader]


@pytest.fixture(params=LOADERS)
def loader(request):
    return request.param


def plain(text: str, loader: Any) -> Any:
    return source.compose(text, "f.yaml", loader).root


def first_error(value: Any) -> InputError:
    if isinstance(value, InputError):
        return value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list, InputError)):
            return first_error(item)
    raise AssertionError(value)


@pytest.mark.parametrize(
    "scalar",
    "3.10 0.10 yes on No 0o17 017 1_000 1e3 .inf 12:30:45 2001-01-01 = true".split(),
)
def test_scalars_are_their_source_text(scalar, loader):
    assert plain(f"a: {scalar}", loader) == {"a": scalar}
    assert plain(f"{scalar}: a", loader) == {scalar: "a"}


def test_null_is_only_what_is_not_quoted(loader):
    text = "{a: , b: ~, c: null, d: 'null', e: \"\", f: !!str null, g: nil}"
    assert plain(text, loader) == {"a": None, "b": None, "c": None, "d": "null", "e": "", "f": "null", "g": "nil"}


def test_block_scalars(loader):
    assert plain("a: |\n  x\n  y\nb: >\n  x\n  y\n", loader) == {"a": "x\ny\n", "b": "x y\n"}


def test_aliases_of_single_values_are_read(loader):
    read = plain("a: &v 16GB\nb: *v\nc: {d: *v}\ne: &n\nf: *n\n&k x: 1\ny: *k", loader)
    assert read == {"a": "16GB", "b": "16GB", "c": {"d": "16GB"}, "e": None, "f": None, "x": "1", "y": "x"}


def test_aliases_of_collections_are_refused_where_they_stand(loader):
    for text in ("a: &a [x]\nb: *a", "a: &a {x: y}\nb:\n  <<: *a", "a: &a\n  b: *a", "a: &a\n- *a", "a: *a"):
        composed = source._Composer(loader(text).get_event, "f.yaml")
        composed.document()
        assert len(composed._refusals) == 1, text
        assert composed._refusals[0].where.startswith("f.yaml:")


def test_a_merge_of_what_is_written_out_is_read(loader):
    assert plain("a: {<<: {x: 1, y: 2}, y: 3}", loader) == {"a": {"x": "1", "y": "3"}}
    assert plain("a: {<<: [{x: 1}, {x: 2, z: 3}]}", loader) == {"a": {"x": "1", "z": "3"}}
    assert plain("a: {'<<': 1}", loader) == {"a": {"<<": "1"}}


@pytest.mark.parametrize("tag", ["!x", "!!python/object/apply:os.system", "!!binary", "!!set", "!<tag:x,1>"])
def test_tags_beyond_the_plain_ones_are_refused(tag, loader):
    for text in (f"a: {tag} x", f"a: {tag} [x]", f"a: {tag} {{x: y}}"):
        error = first_error(plain(text, loader))
        assert error.where == "f.yaml:1:4"
        assert "not allowed" in error.message


@pytest.mark.parametrize("tag", ["!!str", "!!int", "!!float", "!!bool", "!"])
def test_plain_tags_change_nothing(tag, loader):
    assert plain(f"a: {tag} 12\nb: !!map {{c: !!null ''}}", loader) == {"a": "12", "b": {"c": ""}}


def test_values_beyond_the_limit_stop_the_reading(loader, monkeypatch):
    monkeypatch.setattr(source, "MAX_VALUES", 100)
    seen = 0
    events = loader("[" + "a," * 10_000 + "]")

    def counted() -> Any:
        nonlocal seen
        seen += 1
        return events.get_event()

    with pytest.raises(InputError, match="more than 100 values"):
        source._Composer(counted, "f.yaml").document()
    assert seen < 110


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * width) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * width) + "]" for i in range(1, levels)]
    return "\n".join(lines)


def size(value: Any) -> int:
    if isinstance(value, source.Item):
        return size(value.value)
    if isinstance(value, dict):
        return 1 + sum(size(v) for v in value.values())
    return 1 + sum(size(v) for v in value) if isinstance(value, list) else 1


def test_an_alias_bomb_stays_as_small_as_its_text(loader):
    text = bomb(30, 10)  # 10 ** 30 values, were it expanded
    document = source.compose(f"workflows:\n- name: bomb\n  env: {{{', '.join(text.splitlines())}}}", "f.yaml", loader)
    (item,) = document.root["workflows"]
    assert "repeats a list or mapping" in item.refused.message
    assert size(item.value) < len(text)


@pytest.mark.parametrize("deep", ["[", "{", "- ", "? ", "[[], ", "{a: ", "!!seq ["])
def test_deep_nesting_stops_after_a_few_events(deep, loader):
    seen = 0
    events = loader(deep * 100_000)

    def counted() -> Any:
        nonlocal seen
        seen += 1
        return events.get_event()

    with pytest.raises((InputError, yaml.YAMLError)):
        source._Composer(counted, "f.yaml").document()
    assert seen < 400


def test_places(loader):
    text = "workflows:\n- name: x\n  env: {A: 1, B: [p, q]}\n  <<: {c: d}\n"
    document = source.compose(text, "f.yaml", loader)
    item = ("workflows", 0)
    assert document.locate((*item, "env", "A")) == "f.yaml:3:12"
    assert document.locate((*item, "env", "A"), key=True) == "f.yaml:3:9"
    assert document.locate((*item, "env", "B", 1)) == "f.yaml:3:22"
    assert document.locate((*item, "env", "B", 7)) == "f.yaml:3:18"
    assert document.locate((*item, "c")) == "f.yaml:4:11"
    assert document.locate((*item, "absent")) == "f.yaml:2:3"
    assert source.compose("", "f.yaml", loader).locate(("x",)) == "f.yaml"


@pytest.mark.parametrize("elsewhere", ["*nowhere", "&a x", "!!python/name:x y", "{? [k] : v}"])
def test_places_do_not_need_the_rest_of_the_file_to_be_right(elsewhere):
    document = source.compose(f"a: &a 1\nb: {elsewhere}\nc: {{d: e}}", "f.yaml")
    assert document.locate(("c", "d")) == "f.yaml:3:8"


YAML_PIECES = st.lists(
    st.sampled_from(
        [
            "workflows",
            ":",
            " ",
            "\n",
            "- ",
            "name",
            "a",
            "&a ",
            "*a",
            "<<",
            "[",
            "]",
            "{",
            "}",
            ",",
            "'",
            '"',
            "|",
            ">",
            "!!str ",
            "!!python/x ",
            "#",
            "%",
            "---",
            "...",
            "? ",
            "\t",
            "\u00e9",
            "\ufeff",
            "~",
            "\r",
            "@",
            "`",
            "\x85",
            "  ",
        ]
    ),
    max_size=40,
).map("".join)


@given(st.one_of(YAML_PIECES, st.text(max_size=60)))
def test_any_text_gives_values_or_an_input_error(text):
    for loader in LOADERS:
        try:
            checked = source._text(text.encode("utf-8", "surrogatepass"), "f.yaml")
            document = source.compose(checked, "f.yaml", loader)
        except InputError as error:
            assert error.where.startswith("f.yaml")  # noqa: PT017
        else:
            assert size(document.root) <= 4 * len(text) + 4
            assert document.locate(("workflows", 0, "name")).startswith("f.yaml")


def test_a_tag_in_brackets_wants_quotes(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text("workflows:\n- {name: a, deps: [data, :best]}\n")
    with pytest.raises(InputError) as caught:
        source.read(file, "w.yaml")
    assert "quote what begins with a colon" in caught.value.hint
