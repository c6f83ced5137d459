"""A remote: which backend, stores and executors go together under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dstack_core._config.reading import HOME, Config
from dstack_core._engine.limits import Limits
from dstack_core.errors import InputError


@dataclass(frozen=True)
class Remote:
    """Names of plugins, and the settings that the user's config has for them.

    Attributes:
        executor: runs the jobs that need no container, `container_executor` those that do.
    """

    name: str
    backend: str
    artifact_store: str
    executor: str
    secret_store: str | None = None
    container_executor: str = "docker"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def settings_of(self, plugin: str) -> Mapping[str, Any]:
        """The settings of one of the plugins, as they are written: making the plugin checks them."""
        return self.settings.get(plugin, {})


DEFAULT: Final = Remote(
    HOME,
    backend="local",
    artifact_store="local",
    executor="process",
    secret_store="file",  # noqa: S106  the name of a plugin
    container_executor="docker",
)
"""What is used when nothing is configured; what a remote of the config does not say is as here."""


def contained(remote: Remote) -> Remote:
    """The same on machines that are other computers: every job there runs in a container."""
    return replace(remote, executor=remote.container_executor)


def find_remote(name: str | None = None) -> Remote:
    """The remote of that name. None: this machine. Empty: the user's `default`, or the only one that there is.

    Raises:
        NotFoundError: there is none of that name.
        InputError: the user's config is broken, or does not say which remote is the default.
    """
    config = Config.read()
    chosen = DEFAULT.name if name is None else config.remote(name)
    if chosen is None:
        raise InputError("no remote is configured", hint="dstack config")
    limits = Limits.of(config, chosen)
    return replace(
        DEFAULT, name=chosen, settings=config.settings_for(chosen), limits=limits, **config.remotes.get(chosen, {})
    )


def remote_names() -> list[str]:
    """`local`, then the remotes of the user's config. Raises InputError when it is broken."""
    return list(dict.fromkeys([DEFAULT.name, *Config.read().remotes]))
