"""Check: which of the listed plugins may be imported, decided from metadata alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from dstack_core import __version__
from dstack_core._plugins.listing import Listed, canonical

State = Literal["ok", "disabled", "incompatible", "duplicate", "failed"]


class Verdict(NamedTuple):
    """A plugin's state, and why it is not `ok`."""

    state: State
    reason: str | None = None
    hint: str | None = None


OK = Verdict("ok")


class Policy(NamedTuple):
    """What the user switched off. Names are those of plugins or of distributions; `allowed` None: all."""

    enabled: bool = True
    disabled: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = None

    def forbids(self, plugin: Listed) -> Verdict | None:
        """Why the user does not want this plugin, or None."""
        names = {plugin.name, canonical(plugin.distribution)}
        if not self.enabled:
            return Verdict("disabled", "all plugins are switched off", "leave out --no-plugins")
        if names & {name if name == plugin.name else canonical(name) for name in self.disabled}:
            hint = "look at DSTACK_DISABLED_PLUGINS, and at plugins.disable in config.yaml of DSTACK_HOME"
            return Verdict("disabled", "you disabled it", hint)
        if self.allowed is not None and not names & {n if n == plugin.name else canonical(n) for n in self.allowed}:
            hint = f"add {plugin.name} to plugins.allow in config.yaml of DSTACK_HOME"
            return Verdict("disabled", "it is not in your list of allowed plugins", hint)
        return None


def check(plugin: Listed, everyone: Sequence[Listed], policy: Policy, core: str = __version__) -> Verdict:
    """The verdict on one plugin among all that are listed."""
    return policy.forbids(plugin) or _duplicate(plugin, everyone, policy) or _incompatible(plugin, core) or OK


def _duplicate(plugin: Listed, everyone: Sequence[Listed], policy: Policy) -> Verdict | None:
    same = [p for p in everyone if p.name == plugin.name and not policy.forbids(p)]
    if len(same) < 2:
        return None
    packages = list(dict.fromkeys(f"{p.distribution} {p.version}" for p in same))
    if len(packages) == 1:
        return Verdict("duplicate", f"{packages[0]} brings two plugins of this name", "tell its authors")
    hint = f"uninstall one, or disable one: DSTACK_DISABLED_PLUGINS={same[-1].distribution}"
    return Verdict("duplicate", f"{' and '.join(packages)} both bring a plugin of this name", hint)


def _incompatible(plugin: Listed, core: str) -> Verdict | None:
    for requirement in plugin.requires:
        if canonical(re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]) != "dstack-core":
            continue
        taken = _takes(requirement, core)
        if taken is None:
            return Verdict("incompatible", f"its requirement `{requirement}` cannot be read", "tell its authors")
        if not taken:
            hint = f"pip install --upgrade dstack-core {plugin.distribution}"
            return Verdict("incompatible", f"it needs `{requirement}`, and this is dstack-core {core}", hint)
    return None


_PLAIN = re.compile(r"[\w.-]+\s*\(?\s*((?:(?:>=|<=|<|>)\s*\d+(?:\.\d+)*\s*,?\s*)*)\)?")
_CLAUSE = re.compile(r"(>=|<=|<|>)\s*([\d.]+)")


def _takes(requirement: str, core: str) -> bool | None:
    """Whether the requirement takes this version of core; None: it is malformed."""
    plain = _PLAIN.fullmatch(requirement.strip())
    # `packaging` costs more to import than all of this check; it is for the requirements that are not plain ranges.
    if plain and re.fullmatch(r"\d+(\.\d+)*", core):
        return all(_compare(_release(core), op, _release(version)) for op, version in _CLAUSE.findall(plain[1]))
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return None
    if parsed.marker is not None and not parsed.marker.evaluate({"extra": ""}):
        return True
    return parsed.specifier.contains(core, prereleases=True)


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(n) for n in version.split(".") if n]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _compare(ours: tuple[int, ...], operator: str, theirs: tuple[int, ...]) -> bool:
    if operator == ">=":
        return ours >= theirs
    if operator == "<=":
        return ours <= theirs
    return ours < theirs if operator == "<" else ours > theirs
