"""One YAML file as plain values: None, text, lists, dicts. For workflow files and the user's config; import it late.

The values are built from libyaml's events, not by `yaml.load`: its C code overflows the stack on deep nesting, reads
`3.10` as a number, and shares what an alias repeats, so that whoever walks the result explodes. Here every limit
holds before a value exists. What is wrong with one value becomes an error in its place, so that it spoils one
workflow and not its file. Places are not kept: `locate` reads the text again when an error needs one.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from dstack_core.errors import InputError

MAX_BYTES: Final = 10_000_000
MAX_DEPTH: Final = 50
MAX_VALUES: Final = 1_000_000
MAX_REFUSALS: Final = 1000
_ITEM_DEPTH: Final = 3

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null", "seq", "map")) | {
    "!"
}
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER: Final[type] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


# By key or index: the mark of the key, the mark of the value, and what is in it.
_Places: TypeAlias = "dict[object, tuple[Any, Any, _Places]]"


class Item:
    """One item of a list at the top of the file. `refused` is the first thing in it that cannot be taken."""

    __slots__ = ("place", "refused", "value")

    def __init__(self, value: Any, place: str, refused: InputError | None) -> None:
        self.value = value
        self.place = place
        self.refused = refused


class Document:
    """A file that was read. `root` holds `Item`s where a list stands directly under a key of the top."""

    __slots__ = ("_loader", "_places", "_text", "root", "shown")

    def __init__(self, text: str, loader: Any, shown: str, root: Any) -> None:
        self._loader = loader
        self._text = text
        self._places: _Places | None = None
        self.shown = shown
        self.root = root

    def locate(self, path: Sequence[object], *, key: bool = False) -> str:
        """`path:line:column` of a value, or of the nearest one around it. `key`: of its key."""
        if self._places is None:
            self._places = _places(self._loader(self._text))
        key_mark = mark = None
        children = self._places
        for step in ("", *path):
            found = children.get(step) or _merged(children, step)
            if found is None:
                return place(self.shown, mark) if mark else self.shown
            key_mark, mark, children = found
        return place(self.shown, key_mark if key else mark)


def read(path: Path, shown: str) -> Document:
    """The document of a file. `shown` is the path that errors cite.

    Raises:
        InputError: it cannot be read, is too large, or is not one well-formed YAML document.
    """
    return compose(_text(_bytes(path, shown), shown), shown)


def compose(text: str, shown: str, loader: Any = None) -> Document:
    """The document in `text`. Linear in its length. Raises InputError as `read` does."""
    collecting = gc.isenabled()
    gc.disable()  # 300,000 new values and no garbage: looking for some would double the time
    loader, events = loader or _LOADER, None
    try:
        events = loader(text)
        return Document(text, loader, shown, _Composer(events.get_event, shown).document())
    except yaml.YAMLError as error:
        raise _syntax(error, text, shown) from None
    finally:
        if events is not None:
            events.dispose()
        if collecting:
            gc.enable()


class _Composer:
    def __init__(self, next_event: Callable[[], Any], shown: str) -> None:
        self._next = next_event
        self._shown = shown
        self._anchors: dict[str, Any] = {}
        self._refusals: list[InputError] = []
        self._left = MAX_VALUES

    def document(self) -> Any:
        self._next()
        if self._next().__class__ is yaml.StreamEndEvent:
            return None
        root = self._value(self._next(), 1)
        self._next()
        event = self._next()
        if event.__class__ is not yaml.StreamEndEvent:
            hint = "put all workflows under one `workflows:`, or in files of their own"
            raise self._error("a second YAML document starts here", event.start_mark, hint)
        return root

    def _value(self, event: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error(f"more than {MAX_VALUES:,} values in one file", event.start_mark, "split the file")
        kind = event.__class__
        if kind is yaml.ScalarEvent:
            value = event.value
            if value in _NULLS and event.implicit[0]:
                value = None
            if event.anchor is None and event.tag is None:
                return value
        elif kind is yaml.AliasEvent:
            return self._alias(event)
        elif depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep", event.start_mark, "flatten it")
        else:
            value = {} if kind is yaml.MappingStartEvent else []
        # The anchor is known before what it holds is, so that a cycle meets an alias to a collection.
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        if kind is yaml.MappingStartEvent:
            self._mapping(value, depth + 1)
        elif kind is yaml.SequenceStartEvent:
            self._sequence(value, depth + 1)
        if event.tag is not None and event.tag not in _TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            value = self._refuse(f"the tag `{tag}` is not allowed", event.start_mark, "remove the tag")
        return value

    def _sequence(self, items: list[Any], depth: int) -> None:
        while (event := self._next()).__class__ is not yaml.SequenceEndEvent:
            if depth != _ITEM_DEPTH:
                items.append(self._value(event, depth))
                continue
            before = len(self._refusals)
            value = self._value(event, depth)
            refused = self._refusals[before] if len(self._refusals) > before else None
            items.append(Item(value, place(self._shown, event.start_mark), refused))

    def _mapping(self, items: dict[str, Any], depth: int) -> None:
        merges = []
        while (event := self._next()).__class__ is not yaml.MappingEndEvent:
            name = self._key(event, depth)
            following = self._next()
            value = self._value(following, depth)
            if name == "<<" and event.implicit[0]:
                merges.append((value, following.start_mark))
            elif name in items:
                items[name] = self._refuse(f"`{_short(name)}` is given twice", event.start_mark, "keep one of them")
            else:
                items[name] = value
        for value, mark in merges:
            self._merge(items, value, mark)

    def _key(self, event: Any, depth: int) -> str:
        if event.__class__ is yaml.ScalarEvent and event.anchor is None and event.tag is None:
            return str(event.value)
        value = self._value(event, depth)
        if event.__class__ is not yaml.ScalarEvent and not isinstance(value, str):
            self._refuse("a key must be one text value", event.start_mark, "write `key: value`")
        return str(event.value) if event.__class__ is yaml.ScalarEvent else str(value)

    def _merge(self, items: dict[str, Any], value: Any, mark: Any) -> None:
        for source in value if isinstance(value, list) else [value]:
            if isinstance(source, dict):
                for name, item in source.items():
                    items.setdefault(name, item)
            elif not isinstance(source, InputError):
                self._refuse("`<<` takes a mapping", mark, "write `<<: {key: value}`")

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name not in self._anchors:
            return self._refuse(f"no anchor `&{_short(name)}` above this alias", event.start_mark, "write the value")
        value = self._anchors[name]
        if not isinstance(value, (list, dict)):
            return value
        message = f"`*{_short(name)}` repeats a list or mapping; only single values can be repeated"
        return self._refuse(message, event.start_mark, "write it out here (`<<: *name` needs such an alias too)")

    def _refuse(self, message: str, mark: Any, hint: str) -> InputError:
        # A million wrong aliases need no million errors.
        error = self._error(message, mark, hint) if len(self._refusals) < MAX_REFUSALS else self._refusals[-1]
        self._refusals.append(error)
        return error

    def _error(self, message: str, mark: Any, hint: str) -> InputError:
        return InputError(message, hint=hint, where=place(self._shown, mark))


def _places(events: Any) -> _Places:
    """The marks of a document whose limits were checked; `""` is its root. Aliases lead nowhere."""
    try:
        events.get_event()
        if events.get_event().__class__ is yaml.StreamEndEvent:
            return {}
        event = events.get_event()
        return {"": (event.start_mark, event.start_mark, _children(events.get_event, event))}
    finally:
        events.dispose()


def _children(next_event: Callable[[], Any], event: Any) -> _Places:
    found: _Places = {}
    if event.__class__ is yaml.SequenceStartEvent:
        while (item := next_event()).__class__ is not yaml.SequenceEndEvent:
            found[len(found)] = (item.start_mark, item.start_mark, _children(next_event, item))
    elif event.__class__ is yaml.MappingStartEvent:
        while (key := next_event()).__class__ is not yaml.MappingEndEvent:
            _children(next_event, key)
            value = next_event()
            where = (key.start_mark, value.start_mark, _children(next_event, value))
            found.setdefault(getattr(key, "value", ""), where)
    return found


def _merged(children: _Places, step: object) -> tuple[Any, Any, Any] | None:
    """A key that came into a mapping by `<<: {...}` or `<<: [{...}]`."""
    if "<<" not in children:
        return None
    source = children["<<"][2]
    sources = [source, *(child[2] for index, child in source.items() if isinstance(index, int))]
    return next((found for one in sources if (found := one.get(step))), None)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def place(shown: str, mark: Any) -> str:
    """`path:line:column`, both counted from 1."""
    return f"{shown}:{mark.line + 1}:{mark.column + 1}"


def _bytes(path: Path, shown: str) -> bytes:
    try:
        if not path.is_file():
            raise InputError("not a file that can be read", where=shown, hint="remove it, or fix the link")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=shown, hint="check its permissions") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES // 1_000_000} MB", where=shown, hint="split the file")
    return data


def _text(data: bytes, shown: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise InputError("not UTF-8 text", where=_at(shown, before), hint="save the file as UTF-8") from None
    if wrong := _UNPRINTABLE.search(text):
        what = f"a control character (U+{ord(wrong[0]):04X})"
        raise InputError(f"{what} in the text", where=_at(shown, text[: wrong.start()]), hint="remove it")
    if directive := re.search(r"^%TAG\b", text, re.MULTILINE):
        where = _at(shown, text[: directive.start()])
        raise InputError("YAML directives are not supported", where=where, hint="remove the line")
    return text


def _at(shown: str, before: str) -> str:
    line = before.count("\n") + 1
    return f"{shown}:{line}:{len(before) - before.rfind(chr(10))}"


def _syntax(error: yaml.YAMLError, text: str, shown: str) -> InputError:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    hint = "check the indentation, the `:` and the quotes in this line and the one above"
    line = text.split("\n")[mark.line] if mark and mark.line <= text.count("\n") else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        hint = "indent with spaces, not tabs"
    elif re.search(r"[\[,]\s*:\w", line):
        hint = "in brackets, quote what begins with a colon: [':best']"
    return InputError(f"not valid YAML: {problem}", where=place(shown, mark) if mark else shown, hint=hint)
