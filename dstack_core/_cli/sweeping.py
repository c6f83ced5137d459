"""What machines left behind is ended in passing, by the commands that touch a remote: nothing runs on unseen."""

from __future__ import annotations

import logging
import time
from typing import Final

import click

from dstack_core._cli.context import Context
from dstack_core.errors import DstackError

EVERY: Final = 600.0
"""Seconds between two looks in passing: each asks the cloud for all that carries our label."""


def sweep_in_passing(there: Context) -> None:
    """Look at a remote's machines if nobody has for a while; end what was unexplained at the last look as well.

    Says what it ended on stderr. What goes wrong goes to the log only: it was not what the user asked for.
    """
    from dstack_core.backend import SupportsLeftovers

    try:
        backend = there.backend
        if not isinstance(backend, SupportsLeftovers) or not _is_time(there.remote.name):
            return
        from dstack_core._engine.census import census, end_all
        from dstack_core._engine.looks import look

        for one, error in end_all(backend, look(there.remote.name, census(there.store, backend).unexplained)):
            if error is None:
                click.echo(f"ended the {one.kind} {one.id}, which was left behind on {there.remote.name}", err=True)
    except (DstackError, OSError) as error:
        logging.getLogger("dstack").info("no look at what was left behind on %s: %s", there.remote.name, error)


def _is_time(remote: str) -> bool:
    from dstack_core._engine.looks import last_look

    return time.time() - last_look(remote) > EVERY
