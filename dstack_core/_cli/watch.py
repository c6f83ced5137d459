"""A listing that goes on: on a terminal a screen of its own, elsewhere changed rows as lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from dstack_core._cli.render import table
from dstack_core._cli.runs import Listing, Row

if TYPE_CHECKING:
    from dstack_core._cli.board import Board

PAUSE: Final = 1.0
"""Seconds between looks."""
SHARE: Final = 20
"""A look that takes long is followed by a pause so many times as long."""
FRAME: Final = 0.25
"""Seconds between two pictures."""
MOVING: Final = frozenset({"duration", "submitted"})
"""Columns that change with the time alone: that is no news."""


def watch(listing: Listing, *, as_json: bool) -> None:
    """Print what is new in the listing, again and again, until Ctrl+C, which is the way to end it and no error."""
    with contextlib.suppress(KeyboardInterrupt):
        _lines(listing, as_json=as_json)


def watch_on_screen(board: Board) -> None:
    """The same on a terminal, which is as it was afterwards."""
    from rich.console import Console, Group
    from rich.live import Live

    from dstack_core._cli.boardlines import screen

    console = Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
    with contextlib.suppress(KeyboardInterrupt):
        board.look()
        with Live(
            console=console, auto_refresh=False, screen=True, redirect_stdout=False, redirect_stderr=False
        ) as live:
            looked, pause = time.monotonic(), PAUSE
            while True:
                live.update(Group(*screen(board, *console.size)), refresh=True)
                time.sleep(FRAME)
                if time.monotonic() - looked > pause:
                    started = time.monotonic()
                    board.look()
                    looked = time.monotonic()
                    pause = max(PAUSE, SHARE * (looked - started))


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
