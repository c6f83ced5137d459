"""Secrets of a repository, by the names that people and workflows use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dstack_core.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dstack_core._engine.remote import Remote
    from dstack_core._plugins.registry import Plugins
    from dstack_core.secret_store import SecretStore

LONGEST: Final = 100
"""Characters of a name."""
_NAME: Final = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{LONGEST - 1}}}")  # what `${{ secrets.NAME }}` can say


def open_secrets(plugins: Plugins, remote: Remote) -> SecretStore:
    """The remote's secret store. Raises InputError when it has none, PluginError."""
    if remote.secret_store is None:
        raise InputError(
            f"the remote {remote.name} has no secret store", hint="install one and name it in the remote's settings"
        )
    return plugins.secret_store(remote.secret_store, remote.settings_of(remote.secret_store))


def check_secret_name(name: str) -> str:
    """The name, if it can be one. Raises InputError, without what may be a value that stands in the wrong place."""
    if _NAME.fullmatch(name):
        return name
    shown = name.partition("=")[0]
    problem = "that cannot be the name of a secret"
    if shown != name:
        raise InputError(problem, hint=f"the value is never an argument: dstack secrets add {shown} < FILE")
    raise InputError(problem, hint=f"letters, digits and _, no digit first, at most {LONGEST} characters")


def no_secret(name: str, known: Sequence[str]) -> NotFoundError:
    """The error for a secret that does not exist, with the names that come close."""
    import difflib

    close = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"dstack secrets add {name}"
    return NotFoundError(f"no such secret: {name}", hint=hint)
