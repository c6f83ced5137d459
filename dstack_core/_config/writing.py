"""Change one value of the user's config and leave everything else of the file as it is: comments, order, quotes.

The text is edited at the places that YAML's own parser names, and the outcome is read again: a file that would not
say what was meant is not written.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import yaml

from dstack_core._config.reading import Config, config_file, read_text
from dstack_core.errors import ConflictError, InputError, NotFoundError

Keys = Sequence[str]
_STEP: Final = 2
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+@%=-]*(?::[A-Za-z0-9_./+@%=-]+)*(?: [A-Za-z0-9_./+@%=-]+)*")
"""Text that needs no quotes in YAML, wherever it stands."""


def set_value(path: Keys, value: Any) -> Config:
    """Write a value, given as text or as a list or mapping of text, to the user's config.

    Raises:
        InputError: the config is broken or would be, or is written in a way that cannot be edited.
    """

    def plain(root: dict[str, Any]) -> None:
        for key in path[:-1]:
            root[key] = _below(root, key)
            root = root[key]
        root[path[-1]] = value

    return _change(lambda text: _with(text, path, value), plain, path)


def unset_value(path: Keys) -> Config:
    """Remove a value, and what is empty without it. Raises NotFoundError when it is not there, InputError."""

    def plain(root: dict[str, Any]) -> None:
        within = [root]
        for key in path[:-1]:
            within.append(_below(within[-1], key))
        if path[-1] not in within[-1]:
            raise NotFoundError(f"{'.'.join(path)} is not set", where=str(config_file()), hint="dstack config --show")
        for key, mapping in zip(reversed(path), reversed(within), strict=True):
            del mapping[key]
            if mapping:
                break

    return _change(lambda text: _without(text, path), plain, path)


def _change(edit: Callable[[str], str], plainly: Callable[[dict[str, Any]], None], path: Keys) -> Config:
    file = config_file()
    text = read_text(file)
    Config.parse(file, text)  # a broken file is told as it is
    wanted = deepcopy(_plain(text))
    plainly(wanted)
    edited = edit(text)
    try:
        same = _plain(edited) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        message = f"{'.'.join(path)} cannot be changed without rewriting more of the file"
        raise InputError(message, where=str(file), hint="edit the file by hand")
    changed = Config.parse(file, edited)
    _replace(file, text, edited)
    return changed


def _plain(text: str) -> dict[str, Any]:
    found = yaml.load(text, yaml.BaseLoader)  # noqa: S506  makes text, lists and dicts only
    return found if isinstance(found, dict) else {}


def _below(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    found = mapping.get(key)
    return found if isinstance(found, dict) else {}  # else it is null: the config was checked


def _replace(file: Path, before: str, text: str) -> None:
    """Put the new text in place of the old, at one stroke, readable by its owner only."""
    target = file.resolve()  # the user may have linked it to somewhere else
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=".config-")  # mode 0600
    try:
        with open(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        if read_text(file) != before:
            raise ConflictError("somebody else changed the config just now", where=str(file), hint="try again")
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


# --- editing text ---


def _with(text: str, path: Keys, value: Any) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not isinstance(root, yaml.MappingNode):  # nothing, or comments only
        return _line_end(text, len(text), newline) + _block(path, value, 0, newline)
    node: yaml.Node = root
    flow = False
    depth = 0
    while depth < len(path) and (pair := _pair(node, path[depth])) is not None:
        flow = flow or bool(getattr(node, "flow_style", False))
        key, node, depth = pair[0], pair[1], depth + 1
    if depth == len(path) and isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        return _instead_of_block(text, key, node, value)
    if depth == len(path):
        return _insert(text, node.start_mark.index, _end(node), _flow_or_space(text, node, value))
    rest = path[depth:]
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        before = text[: node.end_mark.index - 1]
        comma = "" if not node.value or before.rstrip().endswith(",") else ", "
        return f"{before.rstrip()}{comma}{inline(_nested(rest, value))[1:-1]}{text[node.end_mark.index - 1 :]}"
    if isinstance(node, yaml.MappingNode) and node.value:
        at, indent = _after_line(text, _end(node)), node.value[0][0].start_mark.column
        return _line_end(text[:at], at, newline) + _block(rest, value, indent, newline) + text[at:]
    if flow or node.start_mark.index < node.end_mark.index:  # `~`, `null`
        nested = _nested(rest, value)
        return _insert(text, node.start_mark.index, node.end_mark.index, _flow_or_space(text, node, nested))
    at = _after_line(text, key.end_mark.index)
    indent = key.start_mark.column + _STEP
    return _line_end(text[:at], at, newline) + _block(rest, value, indent, newline) + text[at:]


def _instead_of_block(text: str, key: yaml.Node, node: yaml.Node, value: Any) -> str:
    colon = text.index(":", key.end_mark.index) + 1
    line = _after_line(text, colon) - 1
    if "#" in _between_scalars(text, node):
        return text  # comments would go with it
    return f"{text[:colon]} {inline(value)}{text[colon:line].rstrip()}{text[_end(node) :]}"


def _between_scalars(text: str, node: yaml.Node) -> str:
    """What stands in a value beside its scalars: dashes, colons, brackets, and comments."""
    left, at = [], node.start_mark.index
    for scalar in _scalars(node):
        left.append(text[at : scalar.start_mark.index])
        at = scalar.end_mark.index
    return "".join(left) + text[at : _end(node)]


def _scalars(node: yaml.Node) -> Iterator[yaml.Node]:
    if not isinstance(node, yaml.CollectionNode):
        yield node
        return
    for item in node.value:
        for part in item if isinstance(item, tuple) else (item,):
            yield from _scalars(part)


def _without(text: str, path: Keys) -> str:
    pairs: list[tuple[yaml.MappingNode, tuple[yaml.Node, yaml.Node]]] = []
    node = yaml.compose(text, yaml.SafeLoader)
    for step in path:
        pair = _pair(node, step)
        if pair is None or not isinstance(node, yaml.MappingNode):
            return text
        pairs.append((node, pair))
        node = pair[1]
    while len(pairs) > 1 and len(pairs[-1][0].value) == 1:
        pairs.pop()
    mapping, (key, value) = pairs[-1]
    if mapping.flow_style:
        return _without_ininline(text, mapping, key, value)
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    return text[:start] + text[_after_line(text, max(_end(value), key.end_mark.index)) :]


def _without_ininline(text: str, mapping: yaml.MappingNode, key: yaml.Node, value: yaml.Node) -> str:
    starts = [one.start_mark.index for one, _ in mapping.value]
    index = starts.index(key.start_mark.index)
    if index + 1 < len(starts):
        return text[: starts[index]] + text[starts[index + 1] :]
    start = _end(mapping.value[index - 1][1]) if index else starts[0]
    return text[:start] + text[_end(value) :]


def _pair(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((key, value) for key, value in node.value if key.value == name), None)


def _end(node: yaml.Node) -> int:
    """Where a value ends; that of a block collection is said to end where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1]) if isinstance(last, tuple) else _end(last)
    index: int = node.end_mark.index
    return index


def _after_line(text: str, index: int) -> int:
    """Where the next line begins."""
    if index and text[index - 1] == "\n":
        return index  # a block of text ends with its line
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _line_end(before: str, index: int, newline: str) -> str:
    return before if not before or before.endswith("\n") else before + newline


def _insert(text: str, start: int, end: int, value: str) -> str:
    return text[:start] + value + text[end:]


def _flow_or_space(text: str, node: yaml.Node, value: Any) -> str:
    """The value for a place where one is or might have been: `key:` alone has no space before it."""
    start = node.start_mark.index
    spaced = start == 0 or text[start - 1] in " \n[{,"
    tail = "\n" if text[start : _end(node)].endswith("\n") else ""
    return ("" if spaced else " ") + inline(value) + tail


def _nested(path: Keys, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _block(path: Keys, value: Any, indent: int, newline: str) -> str:
    """Lines that say it, each key on its own."""
    lines = [f"{' ' * (indent + _STEP * i)}{inline(key)}:" for i, key in enumerate(path)]
    lines[-1] += f" {inline(value)}"
    return newline.join(lines) + newline


def inline(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inline(key)}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() != "null":
        return value
    return json.dumps(value, default=str)
