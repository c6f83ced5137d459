"""The `dstack` command: finds commands by name and imports only the one that is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dstack_core import __version__
from dstack_core._cli.session import KEY, Session, session_of, with_core
from dstack_core._plugins import Plugins

if TYPE_CHECKING:
    from dstack_core.hookspecs import Entry


class LazyGroup(click.Group):
    """Core's commands and then plugins', each loaded when it is called; `--help` loads none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, once the session that `main` made is where the options put their values."""
        if isinstance(ctx.obj, Session):
            ctx.meta[KEY], ctx.obj = ctx.obj, None
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of core's commands, in their order, then of plugins' commands that the catalog knows."""
        return list(dict(_summaries(ctx)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported."""
        for entry in _core_entries(ctx):
            if entry.name == cmd_name:
                return entry.load()
        session = session_of(ctx)
        command = session.plugins.command(cmd_name)
        if command is not None:
            session.owner = session.plugins.named(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with close matches for a name that is none; the command's `context()` is made here."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), 3)
            hint = f" Did you mean {' or '.join(close)}?" if close else " See `dstack --help`."
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        from dstack_core._cli.context import Context

        ctx.obj = Context(session_of(ctx).plugins)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from their entries instead of from the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(_summaries(ctx))


def _set(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    # In a callback of the option, because click looks for the subcommand before it calls the group's function.
    if value:
        setattr(session_of(ctx), str(option.name), True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_set, help="Show tracebacks.")
@click.option(
    "--no-plugins",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set,
    help="Use no plugins, not even the bundled ones.",
)
@click.version_option(__version__, "--version", prog_name="dstack", message="%(prog)s %(version)s")
def dstack() -> None:
    """ML pipelines in YAML, on this machine or in your own cloud account."""


def _core_entries(ctx: click.Context) -> list[Entry[click.Command]]:
    # Not through session.plugins: a broken user config must not break the help, nor commands that use no plugin.
    entries: list[Entry[click.Command]] | None = ctx.meta.get(__name__)
    if entries is None:
        entries = ctx.meta[__name__] = with_core(Plugins.discover(enabled=False)).core_commands()
    return entries


def _summaries(ctx: click.Context) -> list[tuple[str, str]]:
    ours = [(entry.name, entry.summary) for entry in _core_entries(ctx)]
    names = {name for name, _ in ours}
    return ours + [(name, summary) for name, summary in _of_plugins(ctx) if name not in names]


def _of_plugins(ctx: click.Context) -> list[tuple[str, str]]:
    """Plugins' commands that earlier inspections found. Imports no plugin, and lists them only if it must."""
    from dstack_core._cli.render import one_line
    from dstack_core._plugins.catalog import Catalog
    from dstack_core.errors import DstackError

    catalog = Catalog.read()
    if session_of(ctx).no_plugins or not catalog.has_commands():
        return []
    plugins = session_of(ctx).plugins
    try:
        found = catalog.commands()
        if found is None:
            found = catalog.commands_of(plugins.usable())
        return [(name, one_line(summary)) for plugin, name, summary in found if not plugins.policy.forbids(plugin)]
    except DstackError:  # a broken user config is the error of commands that need it
        return []
