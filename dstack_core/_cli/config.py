"""`dstack config`: what the user has set, and setting it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dstack_core._cli.context import context
from dstack_core._cli.keys import checked_value, is_secret_path, known_path, steps_of
from dstack_core._cli.lookup import Warnings
from dstack_core._cli.remotes import complete_remote
from dstack_core._cli.render import table
from dstack_core._config.reading import Config

if TYPE_CHECKING:
    from dstack_core._plugins.setting import HasSettings


def _complete_key(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from dstack_core._cli.configured import keys

    try:
        with ctx.scope(cleanup=False):
            known = keys(Config.read(), context().plugins.settings(lambda _: None))
    except Exception:  # completion must never disturb the shell
        return []
    return [key for key in known if key.startswith(incomplete)]


def _need_terminal() -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: use `dstack config set KEY VALUE`, or --show.")


_key = click.argument("key", shell_complete=_complete_key)


@click.group(invoke_without_command=True)
@click.option("--show", is_flag=True, help="Show every value, and where it comes from.")
@click.option("--check", "checks", is_flag=True, help="Try whether every remote can be used.")
@click.option(
    "--print-policy",
    "policy_of",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    shell_complete=complete_remote,
    help="Print what a remote's account has to allow, as JSON; without a name of the default remote.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: with --check what was tried, else every value.")
@click.pass_context
def config(ctx: click.Context, show: bool, checks: bool, policy_of: str | None, as_json: bool) -> int:
    """Ask for a remote: which backend and stores go together, and their settings; or show all values.

    They are kept in config.yaml of $DSTACK_HOME (~/.dstack by default), which can be edited by hand as well. An
    environment variable DSTACK_<PLUGIN>_<SETTING> wins over the file.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    if policy_of is not None:
        _print_policies(policy_of)
        return 0
    if checks:
        return _check(as_json=as_json)
    if show or as_json:
        _show(as_json=as_json)
        return 0
    _need_terminal()
    return _ask()


@config.command()
def plugins() -> None:
    """Ask for the settings of all installed plugins, one by one."""
    from dstack_core._cli.asking import ask_plugins

    _need_terminal()
    ask_plugins()


@config.command("set")
@_key
@click.argument("value", required=False)
def set_(key: str, value: str | None) -> None:
    """Set KEY to VALUE. Without VALUE it is asked for, unseen if it is a secret, or read from stdin.

    Keys are dotted: remotes.local.executor, settings.local.grace, remotes.team.settings.s3.bucket. A list is written
    [a, b]. Comments of the file stay.
    """
    from dstack_core._config.writing import set_value

    config, has = Config.read(), _models_for(key)
    path = known_path(key, config, has)
    if value is None:
        value = _read_value(key, secret=is_secret_path(path, has))
    set_value(path, checked_value(path, value, config, has))


@config.command()
@_key
def unset(key: str) -> None:
    """Remove KEY from the file, so that its default holds again."""
    from dstack_core._config.writing import unset_value

    unset_value(steps_of(key))


def _show(*, as_json: bool) -> None:
    from dstack_core._cli.configured import values

    config = Config.read()
    rows = [value.row() for value in values(config, context().plugins.settings(Warnings()))]
    if as_json:
        rows = [{**row, "value": None if row["secret"] else row["value"]} for row in rows]
    columns = ["key", "value", "source", *(["problem"] if any(row["problem"] for row in rows) else [])]
    table(columns, rows, json=as_json)


def _check(*, as_json: bool) -> int:
    from dstack_core._cli.checking import check

    return check(list(context().everywhere()), as_json=as_json)


def _print_policies(remote: str) -> None:
    """Raises InputError: the remote's backend knows of none."""
    from dstack_core._cli.render import write_json
    from dstack_core.errors import InputError
    from dstack_core.setup import SupportsPolicies

    there = context().at(remote)
    if not isinstance(there.backend, SupportsPolicies):
        message = f"the backend {there.remote.backend} of {there.remote.name} knows of no policies"
        raise InputError(message, hint="dstack config --print-policy NAME: of another remote")
    write_json(there.backend.policies(there.remote.name))


def _ask() -> int:
    """A remote by questions; then what it lacks is made, and it is tried."""
    from dstack_core._cli.checking import check
    from dstack_core._cli.wizard import ask_remote, set_up

    there = context().at(ask_remote())
    click.echo()
    set_up(there)
    return check([there], as_json=False)


def _models_for(key: str) -> Sequence[HasSettings]:
    """Only a setting needs the plugins."""
    return context().plugins.settings(Warnings()) if "settings." in key else ()


def _read_value(key: str, *, secret: bool) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(key, hide_input=secret))
    return sys.stdin.read().rstrip("\n")
