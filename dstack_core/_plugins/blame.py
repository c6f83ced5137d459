"""Whose mistake an unexpected exception is: told by the code that raised it."""

from __future__ import annotations

from collections.abc import Iterator

from dstack_core._plugins.listing import Listed
from dstack_core._plugins.refusal import failed
from dstack_core._plugins.world import World
from dstack_core.errors import PluginError


def blame(world: World, error: BaseException) -> PluginError | None:
    """The error that names the plugin in whose code `error` came up; None when it was in core's own.

    Libraries count for whoever called them, and so does what core offers to plugins.
    """
    packages = [(plugin, _package(plugin)) for plugin in world.listed()]
    for module in reversed(list(_modules(error))):
        if module.startswith("dstack_core._"):
            return None
        for plugin, package in packages:
            if f"{module}.".startswith(f"{package}."):
                return failed(plugin, error)
    return None


def _package(plugin: Listed) -> str:
    """Where a plugin's code is: the package around the module that its entry point names, or that module."""
    module = plugin.value.partition(":")[0].strip()
    return module.rpartition(".")[0] or module


def _modules(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
