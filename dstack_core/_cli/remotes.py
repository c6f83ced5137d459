"""The option `--remote`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def remote_option(help: str) -> Callable[[F], F]:  # noqa: A002  click's word
    """`-r/--remote [NAME]`: the parameter `remote` is None without it, empty without a name."""
    return click.option("-r", "--remote", is_flag=False, flag_value="", metavar="[NAME]", help=help,
                        shell_complete=complete_remote)  # fmt: skip


def complete_remote(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For the shell: names of the user's remotes."""
    from dstack_core._engine.remote import remote_names

    try:
        return [name for name in remote_names() if name.startswith(incomplete)]
    except Exception:  # completion must never disturb the shell
        return []
