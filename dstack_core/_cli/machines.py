"""`dstack machines`: the machines of a remote, what they cost, and what was left behind."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context, context
from dstack_core._cli.remotes import remote_option
from dstack_core._cli.render import table, write_json
from dstack_core._ledger.records import MachineRecord
from dstack_core.errors import ConflictError

if TYPE_CHECKING:
    from dstack_core._engine.census import Census
    from dstack_core._ledger.idle import IdleMachine
    from dstack_core.backend import Leftover

COLUMNS: Final = ("machine", "run", "type", "region", "status", "price", "age", "cost")
UNEXPLAINED: Final = "left behind"
LOST: Final = "lost"
"""What a machine is that has a record, and that its backend does not have; the next look at its run says so, too."""
STATUSES: Final = {"intent": "starting"}
"""Of records, where the word is another."""


FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "price": words.dollars,
    "age": words.duration,
    "cost": words.dollars,
}


@click.command()
@remote_option("Of this remote; without it, of the default one, or this machine.")
@click.option("--sweep", is_flag=True, help="End what was left behind: seen so twice, a minute apart.")
@click.option("--release", is_flag=True, help="End those that wait for another run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def machines(remote: str | None, sweep: bool, release: bool, as_json: bool) -> None:
    """Show the machines of a remote: their runs, prices per hour, and what they have cost so far.

    A machine that is lost costs nothing more; `dstack ps` goes on with its run. At the end stands what carries the
    label of a machine and has no record that explains it: machines, disks, addresses, spot requests, rules that let
    somebody in. All of that ends by itself, as a rule; --sweep sees to it. A machine is idle while it waits for another
    run, as the remote's `idle` says: its age and cost are those of its wait, and count for the run that it worked for.
    """
    from dstack_core._engine.census import census
    from dstack_core._engine.looks import look

    here = _at(remote)
    found = census(here.store, here.backend)
    ripe = look(here.remote.name, found.unexplained)
    ended = _sweep(here, ripe) if sweep else []
    released = _release(here) if release else []
    now = time.time()
    rows = [_of_record(one, now, lost=one.id in found.lost) for one in found.machines]
    rows += [_of_idle(one, now, released=one.label in released) for one in found.idle]
    rows += [_of_leftover(one, now) for one in found.unexplained]
    if as_json:
        write_json({"remote": here.remote.name, "machines": rows, "ended": [one.id for one in ended]})
    elif rows:
        table(COLUMNS, rows, formats=FORMATS)
    else:
        click.echo("There are no machines.")
    if not as_json:
        _tell(found, ended, sweep=sweep)


def _at(remote: str | None) -> Context:
    """Where to look when nobody says so: the default remote, if any is configured."""
    from dstack_core._engine.remote import remote_names

    return context().at("" if remote is None and len(remote_names()) > 1 else remote)


def _sweep(here: Context, ripe: list[Leftover]) -> list[Leftover]:
    from dstack_core._engine.census import end_all
    from dstack_core.backend import SupportsLeftovers

    backend = here.backend
    done = end_all(backend, ripe) if isinstance(backend, SupportsLeftovers) else []
    for one, error in done:
        if error is not None:
            print(f"warning: the {one.kind} {one.id} could not be ended: {error}", file=sys.stderr)
    return [one for one, error in done if error is None]


def _release(here: Context) -> list[str]:
    """The labels of those that a run has not taken meanwhile. Each ends within seconds, by itself."""
    from dstack_core._ledger.idle import end, idle_machines

    released = []
    for document in idle_machines(here.store):
        with contextlib.suppress(ConflictError):
            end(here.store, document)
            released.append(document.value.label)
    return released


def _tell(found: Census, ended: list[Leftover], *, sweep: bool) -> None:
    for one in ended:
        click.echo(f"Ended the {one.kind} {one.id}.")
    left = len(found.unexplained) - len(ended)
    if left and sweep:
        print(f"{left} left behind for less than a minute: give this command again then", file=sys.stderr)
    elif left:
        print(f"{left} left behind: `dstack machines --sweep` ends what is so for a minute", file=sys.stderr)
    if found.foreign:
        print(f"{found.foreign} more in this account belong to other stores", file=sys.stderr)


def _of_record(record: MachineRecord, now: float, *, lost: bool) -> dict[str, Any]:
    offer = record.offer
    age = max(now - record.created, 0.0)
    return {
        "machine": record.id,
        "run": record.run,
        "kind": "machine",
        "type": f"{offer.name}{' (spot)' if offer.spot else ''}",
        "region": offer.place,
        "spot": offer.spot,
        "status": LOST if lost else STATUSES.get(record.status, record.status),
        "price": offer.price,
        "created": record.created,
        "age": age,
        "cost": record.cost(now),
    }


def _of_idle(one: IdleMachine, now: float, *, released: bool) -> dict[str, Any]:
    record = MachineRecord(one.label, one.run, one.offer.backend, one.offer, one.since, "idle")
    return {**_of_record(record, now, lost=False), "status": "ending" if released else "idle", "until": one.until}


def _of_leftover(one: Leftover, now: float) -> dict[str, Any]:
    age = max(now - one.created, 0.0) if one.created else None
    return {
        "machine": one.machine,
        "run": one.run,
        "kind": one.kind,
        "type": f"{one.kind} {one.id}",
        "region": one.region,
        "spot": None,
        "status": UNEXPLAINED,
        "price": one.price,
        "created": one.created or None,
        "age": age,
        "cost": None if age is None else one.price * age / 3600,
    }
