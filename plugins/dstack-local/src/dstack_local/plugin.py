"""Plugin `local`: this machine as backend, a folder of it as artifact store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.artifact_store import ArtifactStore
    from dstack_core.backend import Backend


def _backend() -> Callable[[Settings], Backend]:
    from dstack_local.backend import LocalBackend

    return LocalBackend


def _store() -> Callable[[Settings], ArtifactStore]:
    from dstack_local.store import FolderStore

    return FolderStore


def _settings() -> type[BaseModel]:
    from dstack_local.settings import LocalSettings

    return LocalSettings


@hookimpl
def dstack_backends() -> Sequence[Entry[Callable[[Settings], Backend]]]:
    """The backend `local`."""
    return [Entry("local", "This machine", _backend, _settings)]


@hookimpl
def dstack_artifact_stores() -> Sequence[Entry[Callable[[Settings], ArtifactStore]]]:
    """The artifact store `local`."""
    return [Entry("local", "A folder on this machine", _store, _settings)]
