"""`dstack push` and `dstack pull`: runs and tags between this machine and a remote."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dstack_core._cli import words
from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import complete_run_or_tag, everywhere, find_run, find_tag, warn_of
from dstack_core._cli.remotes import remote_option
from dstack_core._cli.render import write_json
from dstack_core._ledger.records import RunRecord, TagRecord
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from dstack_core._content.sending import Sent

F = TypeVar("F", bound=Callable[..., Any])


def _options(about: str) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
            click.option("-f", "--force", is_flag=True, help="Move a tag that is there for something else."),
            remote_option(about),
            click.argument("source", metavar="RUN|:TAG", shell_complete=complete_run_or_tag),
        ):
            function = option(function)
        return function

    return add


@click.command(no_args_is_help=True)
@_options("Send it to this remote; without it, to the default one.")
def push(source: str, remote: str | None, force: bool, as_json: bool) -> None:
    """Send a finished run of this machine, or a tag, to a remote.

    Others who have the remote can then see the run, use its artifacts, and need not run again what it ran. Only what
    is not there yet is sent; a transfer that was cut short goes on where it was.
    """
    here, there = context(), context().at(remote or "")
    if here.store.location == there.store.location:
        raise InputError("that remote is this machine", hint="-r NAME sends it to another; dstack config --show")
    found = _find(here, source, [here])
    if isinstance(found[1], RunRecord):
        here.advance(found[1].name)
    _send(found, there, source, force=force, as_json=as_json)


@click.command(no_args_is_help=True)
@_options("Fetch it from this remote; without it, from wherever it is.")
def pull(source: str, remote: str | None, force: bool, as_json: bool) -> None:
    """Fetch a finished run or a tag from a remote: then it is on this machine, too.

    Only what is not here yet is fetched; a transfer that was cut short goes on where it was. `dstack cp` copies files
    to a folder of yours without that.
    """
    here = context()
    places = [context().at(remote)] if remote is not None else list(everywhere(here, warn_of))
    others = [there for there in places if there.store.location != here.store.location]
    if not others:
        raise InputError("there is no remote to fetch it from", hint="dstack config")
    _send(_find(here, source, others), here, source, force=force, as_json=as_json)


Found = tuple[Context, "RunRecord | TagRecord"]


def _find(here: Context, source: str, places: list[Context]) -> Found:
    """Raises NotFoundError."""
    if source.startswith(":"):
        return find_tag(here, here.repo, source[1:], places)
    return find_run(here, source, places)


def _send(found: Found, to: Context, source: str, *, force: bool, as_json: bool) -> None:
    from dstack_core._cli.bar import transfer_bar
    from dstack_core._engine.sharing import send_run, send_tag

    there, what = found
    with transfer_bar(f"{source} to {to.remote.name}") as progress:
        if isinstance(what, TagRecord):
            sent = send_tag(there.store, to.store, what, move=force, progress=progress)
        else:
            sent = send_run(there.store, to.store, what.name, progress)
    if as_json:
        write_json({"source": source, "from": there.remote.name, "to": to.remote.name, **sent._asdict()})
    else:
        click.echo(_told(source, to, sent))


def _told(source: str, to: Context, sent: Sent) -> str:
    place = "this machine" if to.is_home else to.remote.name
    new = f"{words.size(sent.new_bytes)} of it new" if sent.new_bytes else "all there already"
    return f"{source}: {words.plural(sent.files, 'file')} ({words.size(sent.size)}) on {place}, {new}"
