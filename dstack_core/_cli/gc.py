"""`dstack gc`: free the space of what nothing refers to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import context
from dstack_core._cli.lookup import confirm
from dstack_core._cli.remotes import remote_option
from dstack_core._cli.render import table, write_json

WORDS: Final = {
    "traces": "results that cannot be reused any more",
    "trees": "artifacts and code: lists of files",
    "packs": "artifacts and code: indexes",
    "contents": "artifacts and code: contents",
    "plans": "plans",
    "runs": "records and logs of removed runs",
    "bundles": "what machines started from, unused for a day",
    "work": "work folders that nobody uses",
    "machine logs": "logs of machines, a month old",
    "keys": "keys to machines of runs, three months old",
    "caches": "caches, unused for three months",
}
"""Kinds, in words."""
FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {"size": words.size, "count": lambda n: f"{n:,}"}


@click.command()
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would go.")
@remote_option("The store of this remote.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gc(dry_run: bool, remote: str | None, yes: bool, as_json: bool) -> None:
    """Free the space of what nothing refers to, in the whole store: of all repositories.

    Tags and runs keep their artifacts, code and logs; remove those that you do not need any more with `dstack rm` and
    `dstack tags delete`. Safe beside runs, which wait for a moment when they save something.
    """
    from dstack_core._engine.collect import collect, find_garbage
    from dstack_core._engine.leftovers import leftovers, remove

    store = context().at(remote).store
    found = _Sums()
    for leftover in leftovers():
        found.add(leftover.kind, leftover.size)
    for one in find_garbage(store):
        found.add(one.kind, one.size)
    if dry_run or not found:
        _show(found, as_json, "Would free" if dry_run else "Freed", freed=not dry_run)
        return
    if not yes:
        _show(found, False, "Would free", freed=False)
        confirm(f"Free {words.size(found.size)}?", yes=yes)
    freed = _Sums()
    try:
        for leftover in leftovers():  # first: on a full disk, there is no room for the lease that `collect` takes
            remove(leftover)
            freed.add(leftover.kind, leftover.size)
        for one in collect(store):
            freed.add(one.kind, one.size)
    finally:
        if freed or sys.exc_info()[0] is None:  # also when it failed half-way
            _show(freed, as_json, "Freed", freed=True)


class _Sums:
    """How many of each kind, and their bytes."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    @property
    def size(self) -> int:
        return sum(size for _, size in self._sums.values())

    @property
    def count(self) -> int:
        return sum(count for count, _ in self._sums.values())

    def add(self, kind: str, size: int) -> None:
        count, before = self._sums.get(kind, (0, 0))
        self._sums[kind] = (count + 1, before + size)

    def rows(self) -> Iterator[dict[str, object]]:
        for kind, (count, size) in self._sums.items():
            yield {"kind": kind, "what": WORDS[kind], "count": count, "size": size}


def _show(sums: _Sums, as_json: bool, verb: str, *, freed: bool) -> None:
    if as_json:
        rows = [{key: row[key] for key in ("kind", "count", "size")} for row in sums.rows()]
        write_json({"freed": freed, "count": sums.count, "size": sums.size, "kinds": rows})
        return
    if sums:
        table(("what", "count", "size"), list(sums.rows()), formats=FORMATS)
    click.echo(f"{verb} {words.size(sums.size)}." if sums else "There is nothing to free.")
