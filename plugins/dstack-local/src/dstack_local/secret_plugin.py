"""Plugin `file`: secrets in a private file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.secret_store import SecretStore


def _store() -> Callable[[Settings], SecretStore]:
    from dstack_local.secret_file import FileSecretStore

    return FileSecretStore


def _settings() -> type[BaseModel]:
    from dstack_local.settings import FileSettings

    return FileSettings


@hookimpl
def dstack_secret_stores() -> Sequence[Entry[Callable[[Settings], SecretStore]]]:
    """The secret store `file`."""
    return [Entry("file", "A file on this machine that only you can read", _store, _settings)]
