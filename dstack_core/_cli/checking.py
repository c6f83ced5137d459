"""`dstack config --check`: whether each remote can really be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from dstack_core._cli.context import Context
from dstack_core._cli.render import table
from dstack_core.errors import DstackError

Row = dict[str, Any]


def check(places: list[Context], *, as_json: bool) -> int:
    """Ask each part of these remotes something; show what it says. The exit code: 0, or that of the first problem."""
    found = [(row, error) for there in places for row, error in _of_remote(there)]
    rows = [row for row, _ in found]
    table(("remote", "part", "plugin", "state", "about"), rows, json=as_json)
    errors = [error for _, error in found if error is not None]
    if not as_json:
        for error in errors:
            click.echo(f"{error}{f' ({error.hint})' if error.hint else ''}", err=True)
    return errors[0].exit_code if errors else 0


def _of_remote(there: Context) -> Iterator[tuple[Row, DstackError | None]]:
    remote = there.remote
    parts: list[tuple[str, str | None, Callable[[], str]]] = [
        ("artifact store", remote.artifact_store, lambda: _store(there)),
        ("secret store", remote.secret_store, lambda: _secrets(there)),
        ("backend", remote.backend, lambda: _backend(there)),
    ]
    for part, plugin, ask in parts:
        row = {"remote": remote.name, "part": part, "plugin": plugin}
        try:
            yield {**row, "state": "ok", "about": ask(), "problem": None}, None
        except DstackError as error:
            yield {**row, "state": "problem", "about": "", "problem": str(error)}, error


def _store(there: Context) -> str:
    next(iter(there.store.list("runs/")), None)
    return there.store.location


def _secrets(there: Context) -> str:
    from dstack_core._engine.secrets import open_secrets

    open_secrets(there.plugins, there.remote).list(there.repo)
    return ""


def _backend(there: Context) -> str:
    from dstack_core._engine.remote import DEFAULT
    from dstack_core.errors import CapacityError
    from dstack_core.models import Requirements

    offers = there.backend.offers(Requirements())
    if not offers.fitting:
        raise CapacityError(f"{there.remote.backend} has no machine: {'; '.join(offers.rejected)}")
    best = offers.fitting[0]
    return best.name if there.remote.backend == DEFAULT.backend else f"{best.name} for {best.price:.4f} USD an hour"
