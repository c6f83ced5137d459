"""Report: what is installed, in which state, and what it provides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dstack_core._plugins.check import State
from dstack_core._plugins.inspection import inspect

if TYPE_CHECKING:
    from dstack_core._plugins.catalog import Finding
    from dstack_core._plugins.listing import Listed
    from dstack_core._plugins.world import World


@dataclass(frozen=True)
class PluginReport:
    """One plugin, for people and for `--json`.

    Attributes:
        reason: why `state` is not `ok`.
        provides: kind of capability -> names; observer hooks are under `observer`.
    """

    name: str
    distribution: str
    version: str
    state: State
    reason: str | None = None
    provides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def report(world: World) -> list[PluginReport]:
    """One line for every listed plugin. Those that may be imported are, in a process of their own each, and the
    catalog learns from it."""
    findings = inspect(world, world.usable())
    return [_line(plugin, world, findings.get(plugin)) for plugin in world.listed()]


def _line(plugin: Listed, world: World, finding: Finding | None) -> PluginReport:
    verdict = world.verdict(plugin)
    about = plugin.name, plugin.distribution, plugin.version
    if finding is None:
        return PluginReport(*about, verdict.state, verdict.reason)
    provides = {kind: tuple(names) for kind, names in finding.provides.items()}
    if finding.observers:
        provides["observer"] = finding.observers
    return PluginReport(*about, finding.state, finding.reason, provides)
