"""`matrix`: one workflow as many jobs, its cells, one for each combination of values."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstack_core._suggest import close_match
from dstack_core._workflow.fields import WrongValue, items, keys, text, whole

MOST: Final = 10_000
"""Cells of one workflow."""
LONGEST: Final = 60
"""Characters of a value in a cell's name; a longer one is cut, and ends in a digest."""

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BESIDE: Final = ("max_parallel", "exclude", "include")
_KEPT: Final = 40
_RESERVED: Final = frozenset(",/[]%")

Values = Mapping[str, str]


@dataclass(frozen=True)
class Matrix:
    """The combinations, in the order of the file, the last key's values changing fastest."""

    cells: tuple[Values, ...]
    max_parallel: int | None = None


def parse(value: Any) -> Matrix:
    """From `{KEY: [VALUE, ...]}`, or from `{values: {KEY: [VALUE, ...]}}` with more beside it.

    `values` decides which of the two it is: it is no key, and neither is what stands beside it.

    Raises:
        WrongValue: it is neither, or has too many cells.
    """
    if not isinstance(value, dict):
        raise WrongValue("must be a mapping", hint="write `matrix: {KEY: [VALUE, ...]}`")
    if "values" not in value:
        _refuse_settings(value)
        return Matrix(tuple(_product(_axes(value))))
    given = keys(value, "values", *_BESIDE)
    if not isinstance(given.get("values"), dict):
        raise WrongValue("must be a mapping", "values", hint="write `values: {KEY: [VALUE, ...]}`")
    axes = _axes(given["values"], "values")
    excluded = list(_combinations(given, "exclude", axes))
    cells = [cell for cell in _product(axes) if not any(part.items() <= cell.items() for part in excluded)]
    for index, more in enumerate(_combinations(given, "include", axes)):
        if len(more) < len(axes) or more in cells:
            why = "is there already" if more in cells else f"must have all of {', '.join(axes)}"
            raise WrongValue(why, "include", index)
        cells.append(more)
    if not 0 < len(cells) <= MOST:
        raise WrongValue(f"has {len(cells):,} cells, and must have 1 to {MOST:,}")
    return Matrix(tuple(cells), whole(given["max_parallel"], "max_parallel", least=1) if _BESIDE[0] in given else None)


def cell_name(workflow: str, values: Values) -> str:
    """`train[lr=0.1,model=small]`: the same for the same values, whatever their order in the file is.

    What would make it ambiguous, and what cannot be seen, is percent-encoded.
    """
    return f"{workflow}[{','.join(f'{key}={encoded(values[key])}' for key in sorted(values))}]"


def encoded(value: str) -> str:
    """A value as it stands in a cell's name."""
    characters = [c if c.isprintable() and c not in _RESERVED else _percent(c) for c in value]
    if sum(map(len, characters)) <= LONGEST:
        return "".join(characters)
    lengths = itertools.accumulate(map(len, characters))
    kept = "".join(c for c, length in zip(characters, lengths, strict=True) if length <= _KEPT)
    return f"{kept}~{hashlib.sha256(value.encode()).hexdigest()[:12]}"


def read_name(name: str) -> Iterator[tuple[str, str]]:
    """What a cell's name, as people type it, may mean: the workflow, and the name as `cell_name` writes it."""
    if not name.endswith("]"):
        return
    from urllib.parse import unquote  # not for every plan

    for start in (match.start() for match in re.finditer(r"\[", name)):
        parts = [part.partition("=") for part in name[start + 1 : -1].split(",")]
        if all(equals for _, equals, _ in parts):
            values = {key.strip(): unquote(value, errors="surrogateescape") for key, _, value in parts}
            yield name[:start], cell_name(name[:start], values)


def _refuse_settings(value: Values) -> None:
    for name in _BESIDE:
        if name in value:
            hint = f"write `matrix: {{values: {{KEY: [VALUE, ...]}}, {name}: ...}}`"
            raise WrongValue("stands beside `values`", name, hint=hint, at_key=True)


def _axes(value: Mapping[str, Any], *path: object) -> dict[str, list[str]]:
    """The values of each key."""
    if not value:
        raise WrongValue("is empty", *path, hint="write `{KEY: [VALUE, ...]}`")
    found = {key: _texts(key, values, *path, key) for key, values in value.items()}
    if (count := math.prod(map(len, found.values()))) > MOST:
        raise WrongValue(f"has {count:,} cells; at most {MOST:,} can be", *path, hint="give it fewer values")
    return found


def _texts(key: str, values: Any, *path: object) -> list[str]:
    if not _KEY.fullmatch(key):
        hint = "use letters, digits and `_`, not starting with a digit"
        raise WrongValue(f"`{key[:40]}` is not a key", *path, hint=hint, at_key=True)
    if not isinstance(values, list) or not values:
        raise WrongValue("must be a list of values", *path, hint=f"write `{key}: [VALUE, ...]`")
    found: dict[str, None] = {}
    for index, item in enumerate(values):
        if (value := text(item, *path, index, literal=False)) in found:
            raise WrongValue(f"`{value[:40]}` is there twice", *path, index, hint="keep one of them")
        found[value] = None
    return list(found)


def _product(axes: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    return (dict(zip(axes, combination, strict=True)) for combination in itertools.product(*axes.values()))


def _combinations(given: Mapping[str, Any], name: str, axes: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    for index, item in enumerate(items(given.get(name, []))):
        if not isinstance(item, dict) or not item:
            raise WrongValue("must be a mapping", name, index, hint="write `- {KEY: VALUE}`")
        found = {key: text(value, name, index, key, literal=False) for key, value in item.items()}
        for key, value in found.items():
            if key not in axes:
                close = close_match(key, axes)
                raise WrongValue(
                    "is no key of `values`", name, index, key, hint=f"did you mean `{close}`?" if close else None
                )
            if name == "exclude" and value not in axes[key]:
                raise WrongValue(f"`{value[:40]}` is none of its values", name, index, key)
        yield found


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
