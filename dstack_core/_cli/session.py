"""What the options before the command's name say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from dstack_core._plugins import Plugins

if TYPE_CHECKING:
    from dstack_core._plugins.listing import Listed


@dataclass
class Session:
    """One call of `dstack`.

    Attributes:
        debug: show tracebacks.
        no_plugins: after `--no-plugins`.
        owner: the plugin whose command runs, None for core's.
    """

    debug: bool = False
    no_plugins: bool = False
    owner: Listed | None = None
    _plugins: Plugins | None = None

    @property
    def plugins(self) -> Plugins:
        """The plugins, with the user's switches, and core's commands. Nothing is read before the first question."""
        if self._plugins is None:
            self._plugins = with_core(Plugins.of_user(enabled=not self.no_plugins))
        return self._plugins


KEY: Final = "dstack.session"


def session_of(ctx: click.Context) -> Session:
    """The session of this call. It is in the context's `meta`, because `obj` belongs to the commands."""
    session = ctx.meta.get(KEY)
    if not isinstance(session, Session):
        session = ctx.meta[KEY] = Session()
    return session


def with_core(plugins: Plugins) -> Plugins:
    """`plugins`, and the module of core's own commands."""
    from dstack_core._cli import commands

    plugins.register(commands, "dstack")
    return plugins
