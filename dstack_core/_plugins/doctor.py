"""Look for what is wrong with the installed plugins, deeper than a command that uses them would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstack_core._plugins.inspection import inspect
from dstack_core._plugins.kinds import COMMAND, KINDS
from dstack_core._plugins.listing import Listed, canonical
from dstack_core._plugins.refusal import clash
from dstack_core.hookspecs import GROUP

if TYPE_CHECKING:
    from dstack_core._plugins.catalog import Finding
    from dstack_core._plugins.registry import Plugins


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do. `subject`: a plugin or a distribution."""

    subject: str
    problem: str
    hint: str | None = None


def diagnose(plugins: Plugins) -> list[Problem]:
    """Everything that can be found; loads each usable plugin in a process of its own."""
    findings = inspect(plugins, plugins.usable())
    return [
        *_states(plugins, findings),
        *_clashes(findings),
        *_hidden_commands(plugins, findings),
        *_requirements_of_core(),
        *_requirements(plugins.listed()),
        *_stale_cache(plugins.listed()),
    ]


def _states(plugins: Plugins, findings: dict[Listed, Finding]) -> Iterator[Problem]:
    for plugin in plugins.listed():
        verdict, finding = plugins.verdict(plugin), findings.get(plugin)
        if verdict.state in ("incompatible", "duplicate"):
            yield Problem(str(plugin), f"{verdict.state}: {verdict.reason}", verdict.hint)
        elif finding is not None and finding.state == "failed":
            hint = f"update or reinstall it: pip install --upgrade {plugin.distribution}; or tell its authors"
            yield Problem(str(plugin), f"failed: {finding.reason}", hint)


def _clashes(findings: dict[Listed, Finding]) -> Iterator[Problem]:
    for kind in KINDS:
        names = dict.fromkeys(name for finding in findings.values() for name in finding.names(kind))
        for name in names:
            offering = {p.value: p for p, finding in findings.items() if name in finding.names(kind)}
            if len(offering) > 1:
                error = clash(kind, name, list(offering.values()))
                yield Problem(f"{kind.name} {name}", error.message, error.hint)


def _hidden_commands(plugins: Plugins, findings: dict[Listed, Finding]) -> Iterator[Problem]:
    ours = {entry.name for entry in plugins.core_commands()}
    for plugin, finding in findings.items():
        for name in finding.names(COMMAND):
            if name in ours:
                yield Problem(str(plugin), f"its command {name} is hidden by dstack's own", "tell its authors")
            elif name != plugin.name:
                reason = f"its command {name} cannot be found: a command's plugin must have the command's name"
                yield Problem(str(plugin), reason, "tell its authors")


def _requirements(listed: tuple[Listed, ...]) -> Iterator[Problem]:
    """Dependencies of plugins' distributions that are not installed, or not in a version that will do."""
    seen = {}
    for plugin in listed:
        seen[canonical(plugin.distribution)] = plugin
    for plugin in seen.values():
        subject = f"{plugin.distribution} {plugin.version}"
        for requirement in plugin.requires:
            problem = _unmet(requirement)
            if problem is not None:
                yield Problem(subject, problem, f"pip install --upgrade {plugin.distribution}")
        names = {canonical(r.split(";")[0].split("[")[0].strip(" ()<>=!~,.0123456789")) for r in plugin.requires}
        if "dstack-core" not in names:
            problem = "it does not say which versions of dstack-core it works with"
            yield Problem(subject, problem, "tell its authors to depend on dstack-core, with a range of versions")


def _requirements_of_core() -> Iterator[Problem]:
    """What `dstack-core` brings along as a distribution, and works without as far as one can: its bundled plugins."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        core = distribution("dstack-core")
    except PackageNotFoundError:  # run from a folder
        return
    for requirement in core.requires or ():
        problem = _unmet(requirement)
        if problem is not None:
            yield Problem(f"dstack-core {core.version}", problem, f"pip install '{requirement}'")


def _unmet(text: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"its requirement `{text}` cannot be read"
    if canonical(requirement.name) == "dstack-core":
        return None  # the check before loading has dealt with it
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"it needs `{text}`, which is not installed"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"it needs `{text}`, and {requirement.name} {installed} is installed"
    return None


def _stale_cache(listed: tuple[Listed, ...]) -> Iterator[Problem]:
    """stevedore's cache of entry points on disk: we do not use it, but other programs of this environment do."""
    from stevedore._cache import _get_cache_dir
    from stevedore.extension import ExtensionManager
    from stevedore.named import NamedExtensionManager

    ExtensionManager.ENTRY_POINT_CACHE.pop(GROUP, None)
    stock: NamedExtensionManager[object] = NamedExtensionManager(GROUP, [], on_missing_entrypoints_callback=None)
    cached = {(entry_point.name, entry_point.value) for entry_point in stock.list_entry_points()}
    differing = sorted({name for name, _ in cached ^ {(plugin.name, plugin.value) for plugin in listed}})
    if differing:
        folder = _get_cache_dir()
        problem = f"stevedore's cache of entry points is stale: it is wrong about {', '.join(differing)}"
        yield Problem(folder, problem, f"rm -r {folder}; to switch the cache off: touch {folder}/.disable")
