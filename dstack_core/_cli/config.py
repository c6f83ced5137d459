"""`dstack config`: what the user has set, and setting it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dstack_core._cli.context import context
from dstack_core._cli.lookup import Warnings
from dstack_core._cli.render import one_line, table
from dstack_core._config.reading import LIMITS, REMOTE, Config, unknown_key
from dstack_core._suggest import close_match
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from dstack_core._cli.configured import Value
    from dstack_core._plugins.setting import HasSettings


def _complete_key(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from dstack_core._cli.configured import keys

    try:
        with ctx.scope(cleanup=False):
            known = keys(Config.read(), context().plugins.settings(lambda _: None))
    except Exception:  # completion must never disturb the shell
        return []
    return [key for key in known if key.startswith(incomplete)]


_key = click.argument("key", shell_complete=_complete_key)


@click.group(invoke_without_command=True)
@click.option("--show", is_flag=True, help="Show every value, and where it comes from.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.pass_context
def config(ctx: click.Context, show: bool, as_json: bool) -> None:
    """Ask for the settings of the installed plugins, one by one; or show all values.

    They are kept in config.yaml of $DSTACK_HOME (~/.dstack by default), which can be edited by hand as well. An
    environment variable DSTACK_<PLUGIN>_<SETTING> wins over the file.
    """
    if ctx.invoked_subcommand is not None:
        return
    if show or as_json:
        _show(as_json=as_json)
    elif sys.stdin.isatty():
        _ask()
    else:
        raise click.UsageError("There is no terminal to ask on: use `dstack config set KEY VALUE`, or --show.")


@config.command("set")
@_key
@click.argument("value", required=False)
def set_(key: str, value: str | None) -> None:
    """Set KEY to VALUE. Without VALUE it is asked for, unseen if it is a secret, or read from stdin.

    Keys are dotted: remotes.local.executor, settings.local.grace. A list is written [a, b]. Comments of the file stay.
    """
    from dstack_core._config.writing import set_value

    config, has = Config.read(), _models_for(key)
    path = _known(key, config, has)
    if value is None:
        value = _read_value(key, secret=_is_secret(path, has))
    set_value(path, _checked(path, value, config, has))


@config.command()
@_key
def unset(key: str) -> None:
    """Remove KEY from the file, so that its default holds again."""
    from dstack_core._config.writing import unset_value

    unset_value(_path(key))


def _show(*, as_json: bool) -> None:
    from dstack_core._cli.configured import values

    config = Config.read()
    rows = [value.row() for value in values(config, context().plugins.settings(Warnings()))]
    if as_json:
        rows = [{**row, "value": None if row["secret"] else row["value"]} for row in rows]
    columns = ["key", "value", "source", *(["problem"] if any(row["problem"] for row in rows) else [])]
    table(columns, rows, json=as_json)


def _ask() -> None:
    from dstack_core._cli.configured import setting_values

    models = context().plugins.settings(Warnings())
    if not models:
        click.echo("No installed plugin has settings.")
        return
    click.echo("Enter keeps a value, - goes back to the default, Ctrl+C ends.")
    for has in models:
        click.secho(f"\n{has.name} ({has.plugin})", bold=True)
        for value in setting_values(Config.read(), has):
            _ask_for(has, value)


def _ask_for(has: HasSettings, value: Value) -> None:
    from dstack_core._cli.configured import problem_of
    from dstack_core._config.writing import inline, set_value, unset_value

    path = value.key.split(".", 2)
    click.echo(f"  {one_line(value.about)}")
    if value.source.startswith("DSTACK_"):
        click.echo(f"  {value.source} is set in the environment, and wins.")
    if value.problem:
        click.echo(f"  now wrong: {one_line(value.problem)}")

    def check(text: str) -> str:
        problem = None if text in ("", "-") else problem_of(has, path[2], text)
        if problem:
            raise click.UsageError(problem)
        return text

    now = "" if value.value is None else inline(value.value)
    answer = click.prompt(
        f"  {path[2]}{f' ({one_line(now)})' if now else ''}",
        default="",
        show_default=False,
        hide_input=value.secret,
        value_proc=check,
    )
    in_file = path[2] in Config.read().settings.get(has.name, {})
    if answer == "-" and in_file:
        unset_value(path)
    elif answer not in ("", "-"):
        set_value(path, _from_text(has, path[2], answer))


# --- keys and values ---


def _path(key: str) -> list[str]:
    return key.split(".", 2)


def _models_for(key: str) -> Sequence[HasSettings]:
    """Only a setting needs the plugins."""
    return context().plugins.settings(Warnings()) if key.startswith("settings.") else ()


def _known(key: str, config: Config, models: Sequence[HasSettings]) -> list[str]:
    """The steps of a key that can be set. Raises InputError with the key that comes closest."""
    from dstack_core._cli.configured import keys

    path = _path(key)
    of_new_remote = path[0] == "remotes" and len(path) == 3 and bool(path[1])
    known = keys(config, models)
    if of_new_remote and path[2] not in (*REMOTE, *LIMITS):
        raise unknown_key(path[2], (*REMOTE, *LIMITS), key)
    if of_new_remote or key in known:
        return path
    names = [has.name for has in models]
    if path[0] == "settings" and len(path) > 1 and path[1] not in names:
        close = close_match(path[1], names)
        hint = f"did you mean settings.{close}?" if close else "dstack plugins"
        raise InputError(f"no installed plugin has settings `{path[1]}`", where=key, hint=hint)
    close = close_match(key, known)
    raise InputError(f"unknown key `{key}`", hint=f"did you mean {close}?" if close else "dstack config --show")


def _checked(path: Sequence[str], value: str, config: Config, models: Sequence[HasSettings]) -> Any:
    """What is to be written. Raises InputError when it cannot be right."""
    from dstack_core._cli.configured import problem_of
    from dstack_core._engine.remote import DEFAULT

    key = ".".join(path)
    if path[0] == "settings":
        has = next(one for one in models if one.name == path[1])
        problem = problem_of(has, path[2], value)
        if problem:
            raise InputError(problem, where=key)
        return _from_text(has, path[2], value)
    if path[0] == "plugins":
        return [name.strip() for name in value.strip("[] ").split(",") if name.strip()]
    if path[0] == "default" and value not in (names := [DEFAULT.name, *config.remotes]):
        close = close_match(value, names)
        hint = f"did you mean {close}?" if close else f"dstack config set remotes.{value}.backend BACKEND"
        raise InputError(f"there is no remote {value}", where=key, hint=hint)
    return value


def _from_text(has: HasSettings, name: str, text: str) -> Any:
    from dstack_core.settings import fields, parse_text

    return parse_text(text, fields(has.model)[name])


def _is_secret(path: Sequence[str], models: Sequence[HasSettings]) -> bool:
    from dstack_core.settings import fields, is_secret

    return any(has.name == path[1] and is_secret(fields(has.model)[path[2]]) for has in models if path[2:])


def _read_value(key: str, *, secret: bool) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(key, hide_input=secret))
    return sys.stdin.read().rstrip("\n")
