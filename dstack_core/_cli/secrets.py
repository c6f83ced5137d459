"""`dstack secrets`: what jobs need and nobody else may read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dstack_core._cli.context import context
from dstack_core._cli.lookup import confirm, warn
from dstack_core._cli.remotes import remote_option
from dstack_core._cli.render import table
from dstack_core._engine.secrets import check_secret_name, no_secret, open_secrets
from dstack_core.errors import ConflictError, InputError

if TYPE_CHECKING:
    from dstack_core.secret_store import SecretStore

MASKED = 4
"""Characters from which on a secret is masked in logs."""

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_remote = remote_option("In the secret store of this remote.")


@click.group(invoke_without_command=True)
@_remote
@_json
@click.pass_context
def secrets(ctx: click.Context, remote: str | None, as_json: bool) -> None:
    """List the names of the repository's secrets; add, update and delete them.

    A workflow uses them as `${{ secrets.NAME }}`, in `env` and in its commands. Values are masked in logs.
    """
    if ctx.invoked_subcommand is None:
        _list(remote, as_json)


@secrets.command("list")
@_remote
@_json
def list_(remote: str | None, as_json: bool) -> None:
    """List the names of the repository's secrets."""
    _list(remote, as_json)


def _complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    try:
        with ctx.scope(cleanup=False):
            known = _store(ctx.params.get("remote")).list(context().repo)
            return [name for name in known if name.startswith(incomplete)]
    except Exception:  # completion must never disturb the shell
        return []


# click would print what is too much on the command line, and that may be the value.
_rest = click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="")


@secrets.command()
@click.argument("name")
@_rest
@_remote
def add(name: str, rest: tuple[str, ...], remote: str | None) -> None:
    """Add a secret. Asks for its value, or reads it from stdin: all of it but one line break at the end."""
    _refuse(rest)
    store, repo = _store(remote), context().repo
    if check_secret_name(name) in store.list(repo):
        raise ConflictError(f"the secret {name} exists", hint=f"dstack secrets update {name}")
    _put(store, repo, name, "added")


@secrets.command()
@click.argument("name", shell_complete=_complete)
@_rest
@_remote
def update(name: str, rest: tuple[str, ...], remote: str | None) -> None:
    """Give a secret another value, as `add` does. Jobs that run keep the old one."""
    _refuse(rest)
    store, repo = _store(remote), context().repo
    known = store.list(repo)
    if check_secret_name(name) not in known:
        raise no_secret(name, known)
    _put(store, repo, name, "updated")


@secrets.command()
@click.argument("name", shell_complete=_complete)
@_remote
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete(name: str, remote: str | None, yes: bool) -> None:
    """Delete a secret. Jobs that run keep it; those that need it from then on fail."""
    store, repo = _store(remote), context().repo
    known = store.list(repo)
    if name not in known:
        raise no_secret(check_secret_name(name), known)
    confirm(f"Delete the secret {name} of {repo}?", yes=yes)
    store.delete(repo, name)
    click.echo(f"{name}: deleted")


def _list(remote: str | None, as_json: bool) -> None:
    repo = context().repo
    rows = [{"name": name, "repo": repo} for name in _store(remote).list(repo)]
    if rows or as_json:
        table(("name",), rows, json=as_json)
    else:
        click.echo(f"No secrets of {repo} yet. Add one with: dstack secrets add NAME")


def _store(remote: str | None) -> SecretStore:
    return open_secrets(context().plugins, context().at(remote).remote)


def _refuse(rest: tuple[str, ...]) -> None:
    if rest:
        raise click.UsageError(
            "The value is never an argument: other users see those, and your shell remembers them. Leave it out to be "
            "asked for it, or write it to stdin. If it is a real one, replace it."
        )


def _put(store: SecretStore, repo: str, name: str, done: str) -> None:
    value = _value(name)
    if not value:
        raise InputError(f"the value of {name} is empty: nothing was {done}")
    if "\0" in value:
        raise InputError(f"the value of {name} holds a NUL character", hint="encode it, with base64 for example")
    store.put(repo, name, value)
    if len(value) < MASKED:
        warn(f"{name} is shorter than {MASKED} characters: logs will show it, since masking it would mask half of them")
    click.echo(f"{name}: {done}")


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Value of {name} (hidden)", hide_input=True, default="", show_default=False, err=True))
    try:
        value = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"the value of {name} is not UTF-8", hint="encode it, with base64 for example") from None
    return value.removesuffix("\n").removesuffix("\r")
