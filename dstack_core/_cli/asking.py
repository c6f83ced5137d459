"""Questions on the terminal, each answer checked as it is typed and written at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from dstack_core._cli.configured import problem_of
from dstack_core._cli.context import context
from dstack_core._cli.keys import from_text
from dstack_core._cli.lookup import Warnings
from dstack_core._cli.render import one_line
from dstack_core._config.reading import Config
from dstack_core._config.writing import inline, set_value, unset_value

if TYPE_CHECKING:
    from dstack_core._cli.configured import Value
    from dstack_core._plugins.setting import HasSettings

MOST: Final = 20
"""Suggestions that are shown."""


def ask_plugins() -> None:
    """Ask for every setting of every installed plugin."""
    from dstack_core._cli.configured import setting_values

    models = context().plugins.settings(Warnings())
    if not models:
        click.echo("No installed plugin has settings.")
        return
    click.echo("Enter keeps a value, - goes back to the default, Ctrl+C ends.")
    for has in models:
        heading(has)
        for value in setting_values(Config.read(), has):
            ask_setting(has, value, value.key.split(".", 2))


def heading(has: HasSettings) -> None:
    """Before the questions of one plugin."""
    click.secho(f"\n{has.plugin if has.name == has.plugin.name else f'{has.name}, {has.plugin}'}", bold=True)


def ask_setting(has: HasSettings, value: Value, path: Sequence[str], suggested: Sequence[str] = ()) -> Any:
    """Ask for one field, whose place in the config is `path`; returns what is written there then, None if nothing is.

    The first of `suggested`, if it is not empty, is what Enter gives when there is no value yet.
    """
    click.echo(f"  {one_line(value.about)}")
    if value.source.startswith("DSTACK_"):
        click.echo(f"  {value.source} is set in the environment, and wins.")
    if value.problem:
        click.echo(f"  now wrong: {one_line(value.problem)}")
    if there := list(filter(None, suggested)):
        more = f", and {len(there) - MOST} more" if len(there) > MOST else ""
        click.echo(f"  There are: {one_line(', '.join(there[:MOST]))}{more}")
    field = path[-1]

    def check(text: str) -> str:
        problem = None if text in ("", "-") else problem_of(has, field, text)
        if problem:
            raise click.UsageError(problem)
        return text

    now = "" if value.value in (None, [], {}) else inline(value.value)
    written = _written(Config.read().root, path)
    preset = suggested[0] if suggested and written is None and not now else ""
    answer = click.prompt(
        f"  {field}{f' ({one_line(now or preset)})' if now or preset else ''}",
        default=preset,
        show_default=False,
        hide_input=value.secret,
        value_proc=check,
    )
    if answer == "-" and written is not None:
        unset_value(path)
        return None
    if answer not in ("", "-"):
        set_value(path, from_text(has, field, answer))
        return answer
    return written


def choose(question: str, choices: Sequence[str], now: str) -> str:
    """One of several names."""
    return str(click.prompt(question, type=click.Choice(choices), default=now, show_default=True))


def _written(root: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = root
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
