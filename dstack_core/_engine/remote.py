"""A remote: which backend, artifact store, secret store and executor go together under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dstack_core.errors import NotFoundError


@dataclass(frozen=True)
class Remote:
    """Names of plugins, and the settings that each of them gets."""

    name: str
    backend: str
    artifact_store: str
    executor: str
    secret_store: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def settings_of(self, plugin: str) -> Mapping[str, Any]:
        """The settings of one of the plugins."""
        return self.settings.get(plugin, {})


DEFAULT: Final = Remote("local", "local", "local", "process", "file")
"""What is used when nothing is configured."""


def find_remote(name: str) -> Remote:
    """Raises NotFoundError."""
    if name != DEFAULT.name:
        raise NotFoundError(f"there is no remote {name}")
    return DEFAULT
