"""How commands show things: tables for people and pipes, JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dstack_core._cli import words

if TYPE_CHECKING:
    from rich.table import Table

    from dstack_core._content.difference import Change, Side

Formats = Mapping[str, Callable[[Any], str]]


def table(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    json: bool = False,
    formats: Formats | None = None,
    titles: bool = True,
) -> None:
    """Print `rows` to stdout: rich on a terminal, aligned plain text elsewhere, a list of objects when `json`.

    Args:
        columns: the keys to show, in order; a column's title is its key in capitals. JSON has all keys of a row.
        formats: how a column's value becomes text (durations, sizes); by default `str`, and nothing for None.
        titles: False to go on with a plain table that has them already.
    """
    if json:
        write_json(list(rows))
        return
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False).print(_rich_table(columns, rows, formats))
    else:
        _plain_table(_titles(columns), _cells(columns, rows, formats), titles=titles)


def _rich_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], formats: Formats | None = None) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in _titles(columns):
        shown.add_column(title, overflow="fold")
    for line in _cells(columns, rows, formats):
        shown.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))
    return shown


def write_diff(old: Side, new: Side, found: list[Change], *, stat: bool) -> None:
    """What git says of the changes between two sides, with colours on a terminal. Raises as `difference.diff`."""
    from dstack_core._content.difference import diff

    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for piece in diff(old, new, found, stat=stat, colours=colours):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def write_json(value: Any) -> None:
    """Print `value` as indented JSON; what JSON has no form for is printed as text."""
    import json

    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, so that foreign text cannot steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def _text(value: Any, form: Callable[[Any], str] | None) -> str:
    if value is None:
        return ""
    if form is None and isinstance(value, (list, tuple, set, frozenset)):
        return one_line(", ".join(map(str, value)))
    text = str(value) if form is None else form(value)
    return text if text.isprintable() else one_line(text)


def _titles(columns: Sequence[str]) -> list[str]:
    return [column.replace("_", " ").upper() for column in columns]


def _cells(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], formats: Formats | None) -> list[list[str]]:
    return [[_text(row.get(column), (formats or {}).get(column)) for column in columns] for row in rows]


def _plain_table(names: Sequence[str], cells: Sequence[Sequence[str]], *, titles: bool) -> None:
    widths = [max(map(words.columns, column)) for column in zip(names, *cells, strict=True)]
    for line in (names, *cells)[0 if titles else 1 :]:
        padded = "  ".join(words.padded(cell, width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(padded.rstrip() + "\n")


_STYLES = {
    "ok": "green",
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "duplicate": "red",
    "incompatible": "red",
    "aborted": "red",
    "interrupted": "yellow",
    "disabled": "dim",
    "skipped": "dim",
    "reused": "dim",
}
