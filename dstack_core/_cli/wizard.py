"""`dstack config` on a terminal: a remote by questions, and what it lacks made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from dstack_core._cli.asking import ask_setting, choose, heading
from dstack_core._cli.configured import setting_values
from dstack_core._cli.context import Context, context
from dstack_core._cli.lookup import Warnings, warn_of
from dstack_core._cli.render import one_line
from dstack_core._config.reading import Config
from dstack_core._config.writing import set_value
from dstack_core._engine.remote import DEFAULT, find_remote
from dstack_core._plugins import kinds
from dstack_core.errors import DstackError
from dstack_core.setup import SupportsSetup, SupportsSuggestions, is_asked

if TYPE_CHECKING:
    from dstack_core._cli.configured import Value
    from dstack_core._plugins.setting import HasSettings

PARTS: Final = {
    "backend": ("Backend, which gives machines", kinds.BACKEND),
    "artifact_store": ("Artifact store, which keeps code, artifacts, logs and records", kinds.ARTIFACT_STORE),
    "secret_store": ("Secret store", kinds.SECRET_STORE),
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def ask_remote() -> str:
    """Ask for a remote and write it to the config; its name.

    Raises:
        InputError: the config is broken.
        click.Abort: the user has had enough. What was answered until then is kept.
    """
    config = Config.read()
    others = [name for name in config.remotes if name != DEFAULT.name]
    click.echo("A remote is a backend and stores under one name. Enter keeps what stands in brackets, Ctrl+C ends.")
    if others:
        click.echo(f"There are: {', '.join(others)}. Another name makes another one.")
    name = click.prompt("Name of the remote", default=config.default or (others or ["team"])[0], value_proc=_name)
    now = find_remote(name) if name in config.remotes else DEFAULT
    chosen = dict.fromkeys(_ask_part(name, key, getattr(now, key)) for key in PARTS)
    models = {has.name: has for has in context().plugins.settings(Warnings())}
    answers: dict[str, Any] = {}
    for plugin in filter(models.__contains__, chosen):
        _ask_settings(name, models[plugin], answers)
    if others and name not in others and click.confirm("Is it what --remote without a name means?", default=False):
        set_value(["default"], name)
    return str(name)


def set_up(there: Context) -> None:
    """Make what a remote's stores and backend lack, if the user agrees. Raises DstackError."""
    for part in (there.store, there.backend):
        lacking = part.lacking() if isinstance(part, SupportsSetup) else ()
        if isinstance(part, SupportsSetup) and lacking:
            click.echo("Not there yet:")
            for line in lacking:
                click.echo(f"  {one_line(line)}")
            if click.confirm("Make it?", default=True):
                part.set_up()


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or text == DEFAULT.name:
        raise click.UsageError(f"letters, digits, - and _, and not {DEFAULT.name}, which is this machine")
    return text


def _ask_part(remote: str, key: str, now: str) -> str:
    question, kind = PARTS[key]
    names = context().plugins.names(kind)
    preset = now if now in names else names[0]
    chosen = choose(question, names, preset) if len(names) > 1 else preset
    set_value(["remotes", remote, key], chosen)
    return chosen


def _ask_settings(remote: str, has: HasSettings, answers: dict[str, Any]) -> None:
    """Those of a plugin that have to be asked for. `answers`: by the field's name, what was said for other plugins."""
    asked = [value for field, value in _values(remote, has) if is_asked(has.model.model_fields[field])]
    if not asked:
        return
    heading(has)
    given = dict(find_remote(remote).settings_of(has.name))
    for value in asked:
        field = value.key.rpartition(".")[2]
        path = ["remotes", remote, "settings", has.name, field]
        said = ask_setting(has, value, path, _suggested(has, field, given, answers))
        if said is not None:
            answers[field] = given[field] = said


def _values(remote: str, has: HasSettings) -> Iterator[tuple[str, Value]]:
    """Each field with the value that this remote has now."""
    own: Mapping[str, Any] = Config.read().own_settings(remote).get(has.name, {})
    for value in setting_values(Config.read(), has):
        field = value.key.rpartition(".")[2]
        yield field, replace(value, value=own[field], problem=None) if field in own else value


def _suggested(has: HasSettings, field: str, given: Mapping[str, Any], answers: Mapping[str, Any]) -> Sequence[str]:
    before = [str(answers[field])] if field in answers else []
    if not isinstance(has.model, SupportsSuggestions):
        return before
    try:
        return list(dict.fromkeys([*before, *has.model.suggestions(field, given)]))
    except DstackError as error:
        warn_of(error)
        return before
