"""A listing that goes on: redrawn on a terminal, changed rows as lines elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Final

import click

from dstack_core._cli.render import rich_table, table
from dstack_core._cli.runs import Listing, Row

PAUSE: Final = 1.0
"""Seconds between looks."""
MOVING: Final = frozenset({"duration", "submitted"})
"""Columns that change with the time alone: that is no news."""


def watch(listing: Listing, *, as_json: bool) -> None:
    """Show the listing again and again, until Ctrl+C, which is the way to end it and no error."""
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty() and not as_json:
            _redraw(listing)
        else:
            _lines(listing, as_json=as_json)


def _redraw(listing: Listing) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            rows = listing.rows()
            live.update(rich_table(listing.columns, rows, listing.formats), refresh=True)
            time.sleep(PAUSE)


def _lines(listing: Listing, *, as_json: bool) -> None:
    shown: dict[str, Row] = {}
    titled = False
    while True:
        news = [row for row in listing.rows() if _still(shown.get(row[listing.key])) != _still(row)]
        shown |= {row[listing.key]: row for row in news}
        if as_json:
            for row in news:
                click.echo(json.dumps(row, default=str))
        elif news:
            table(listing.columns, news, formats=listing.formats, titles=not titled)
            titled = True
        sys.stdout.flush()
        time.sleep(PAUSE)


def _still(row: Row | None) -> Row | None:
    return row and {key: value for key, value in row.items() if key not in MOVING}
