"""The errors for a capability that cannot be had: which packages are to blame, and what to type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from dstack_core._plugins.check import Verdict
from dstack_core._plugins.kinds import Kind
from dstack_core._plugins.listing import Listed
from dstack_core.errors import PluginError

DOCTOR: Final = "dstack plugins doctor"


def unusable(plugin: Listed, verdict: Verdict) -> PluginError:
    """The error for a plugin that is needed and not `ok`."""
    what = f"plugin {plugin.name}" if verdict.state == "duplicate" else f"plugin {plugin}"
    return PluginError(f"{what} is {verdict.state}: {verdict.reason}", hint=verdict.hint)


def broken(plugin: Listed, kind: Kind, name: str, reason: str) -> PluginError:
    """The error for a capability that is there and is not what it should be."""
    return PluginError(f"{kind.name} {name} of plugin {plugin} cannot be used: {reason}", hint=DOCTOR)


def failed(plugin: Listed, error: BaseException) -> PluginError:
    """The error for what a plugin's code raised and is no error for people."""
    from dstack_core._plugins.load import describe

    hint = "tell its authors; run it again as `dstack --debug ...` to see where"
    return PluginError(f"plugin {plugin} failed: {describe(error, 'when called')}", hint=hint)


def clash(kind: Kind, name: str, plugins: Sequence[Listed]) -> PluginError:
    """The error for a name that several plugins offer."""
    packages = " and ".join(f"{p.distribution} {p.version} (plugin {p.name})" for p in plugins)
    hint = f"disable one: DSTACK_DISABLED_PLUGINS={plugins[-1].name}"
    return PluginError(f"there are {len(plugins)} {kind.name}s called {name}: in {packages}", hint=hint)


def switched_off(kind: Kind, name: str) -> PluginError:
    """The error for any name after `--no-plugins`."""
    message = f"{kind.name} {name} comes from a plugin, and plugins are switched off"
    return PluginError(message, hint="leave out --no-plugins")


def missing(kind: Kind, name: str, offered: Sequence[str], installed: Collection[str]) -> PluginError:
    """The error for a name that no plugin offers, with close matches and what to install.

    `offered`: names of this kind that are known to be there; `installed`: distributions, as `canonical` writes them.
    """
    import difflib

    from dstack_core._plugins.known import distribution_for, known_names

    close = difflib.get_close_matches(name, offered, 3)
    likely = close or [n for n in difflib.get_close_matches(name, known_names(kind), 1) if n != name]
    package = distribution_for(kind, name if close or not likely else likely[0])
    hint = "dstack plugins" if package in installed else f"pip install {package}"
    if likely:
        hint = f"did you mean {' or '.join(likely)}? {'If not' if close else 'If so'}: {hint}"
    there = f"; there are: {', '.join(offered)}" if offered else ""
    return PluginError(f"no installed plugin has {kind.name} {name}{there}", hint=hint)
