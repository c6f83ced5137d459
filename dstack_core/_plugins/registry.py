"""The façade: core asks it for a capability by name, and gets the object or an error for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dstack_core._config.reading import is_set
from dstack_core._plugins import kinds
from dstack_core._plugins.check import Policy
from dstack_core._plugins.kinds import Kind
from dstack_core._plugins.listing import Listed, canonical
from dstack_core._plugins.refusal import broken, clash, missing, switched_off
from dstack_core._plugins.world import World
from dstack_core.errors import DstackError
from dstack_core.hookspecs import Entry

if TYPE_CHECKING:
    import types

    import click
    from pydantic import BaseModel

    from dstack_core._plugins.catalog import Finding
    from dstack_core._plugins.observe import Observers
    from dstack_core._plugins.report import PluginReport
    from dstack_core._plugins.setting import HasSettings
    from dstack_core.artifact_store import ArtifactStore
    from dstack_core.backend import Backend
    from dstack_core.errors import PluginError
    from dstack_core.executor import Executor
    from dstack_core.provider import Provider
    from dstack_core.secret_store import SecretStore

Settings = Mapping[str, Any]


class Origin(NamedTuple):
    """Of a capability: the distribution that has it, the model of its settings if it has any, and `Entry.unneeded`."""

    distribution: str
    model: type[BaseModel] | None
    unneeded: Callable[[str, str], bool] | None


class Plugins(World):
    """All installed plugins, of which only those that are asked for by name are imported; and core's own commands."""

    def __init__(self, policy: Callable[[], Policy]) -> None:
        super().__init__(policy)
        self._core: dict[str, types.ModuleType] = {}

    @classmethod
    def discover(
        cls, *, enabled: bool = True, disabled: frozenset[str] = frozenset(), allowed: frozenset[str] | None = None
    ) -> Plugins:
        """The plugins of this environment. Listing happens at the first question; no plugin is imported here.

        Args:
            enabled: False switches all plugins off, bundled ones too.
            disabled, allowed: names of plugins or distributions; `allowed` None allows all.
        """
        policy = Policy(enabled, frozenset(disabled), None if allowed is None else frozenset(allowed))
        return cls(lambda: policy)

    @classmethod
    def of_user(cls, *, enabled: bool = True) -> Plugins:
        """`discover` with the user's switches: DSTACK_DISABLED_PLUGINS and `plugins:` of the user's config.

        The config is read at the first question, which raises InputError when it is broken.
        """

        def policy() -> Policy:
            from dstack_core._config.reading import plugin_switches

            allowed, disabled = plugin_switches() if enabled else (None, frozenset())
            return Policy(enabled, disabled, allowed)

        return cls(policy)

    # --- capabilities, by name ---------------------------------------------------------------------------------------

    def provider(self, name: str) -> Provider:
        """The provider of that name. Raises PluginError, as do all look-ups here."""
        return cast("Provider", self._make(kinds.PROVIDER, name))

    def backend(self, name: str, settings: Settings | None = None) -> Backend:
        """The backend of that name. `settings`: what the config says of it."""
        return cast("Backend", self._make(kinds.BACKEND, name, settings or {}))

    def artifact_store(self, name: str, settings: Settings | None = None) -> ArtifactStore:
        """The artifact store of that name. `settings`: what the config says of it."""
        return cast("ArtifactStore", self._make(kinds.ARTIFACT_STORE, name, settings or {}))

    def secret_store(self, name: str, settings: Settings | None = None) -> SecretStore:
        """The secret store of that name. `settings`: what the config says of it."""
        return cast("SecretStore", self._make(kinds.SECRET_STORE, name, settings or {}))

    def executor(self, name: str, settings: Settings | None = None) -> Executor:
        """The executor of that name. `settings`: what the config says of it."""
        return cast("Executor", self._make(kinds.EXECUTOR, name, settings or {}))

    def origin(self, kind: Kind, name: str) -> Origin:
        """Where the capability of that name comes from."""
        owner, entry = self._find(kind, name)
        if entry.settings is None:
            return Origin(owner.distribution, None, entry.unneeded)
        from dstack_core._plugins.setting import load_model

        return Origin(owner.distribution, load_model(owner, entry.settings), entry.unneeded)

    def provider_missing(self, name: str) -> PluginError | None:
        """The error for a provider that no plugin has; None when there is one, or a plugin of that name."""
        if self.named(name) is not None or self._others(kinds.PROVIDER, name, None, search=True):
            return None
        return self._missing(kinds.PROVIDER, name)

    def command(self, name: str) -> click.Command | None:
        """Core's command of that name, or that of the plugin whose entry point has the name; None if neither is there.

        Raises:
            PluginError: there is such a plugin, and it cannot be used.
        """
        for entry in self.core_commands():
            if entry.name == name:
                return entry.load()
        owner = self.named(name)
        if owner is None or self._known_without(owner, kinds.COMMAND):
            return None
        entry_of_owner = self._entry(owner, kinds.COMMAND, name)
        if entry_of_owner is None:
            return None
        return cast("click.Command", self.load_entry(owner, kinds.COMMAND, entry_of_owner))

    # --- core's own modules ------------------------------------------------------------------------------------------

    def register(self, module: types.ModuleType, name: str) -> None:
        """Add a module of core that implements hooks; it is trusted, and not switched off with the plugins."""
        self._manager.register(module, name=f"core:{name}")
        self._manager.check_pending()
        self._core[name] = module

    def core_commands(self) -> list[Entry[click.Command]]:
        """The commands of registered modules, in their order."""
        return [entry for module in self._core.values() for entry in self.ask(module, kinds.COMMAND)]

    # --- what is there -----------------------------------------------------------------------------------------------

    def report(self) -> list[PluginReport]:
        """Every plugin's state, reason and capabilities, each found out in a process of its own."""
        from dstack_core._plugins.report import report

        return report(self)

    def names(self, kind: Kind) -> list[str]:
        """The names of all capabilities of one kind, those of broken plugins excepted."""
        return sorted({name for finding in self._findings().values() for name in finding.names(kind)})

    def settings(self, problem: Callable[[DstackError], None]) -> list[HasSettings]:
        """Whatever has settings. Imports those plugins; one that fails is told to `problem`."""
        from dstack_core._plugins.setting import models_of

        found: list[HasSettings] = []
        for plugin, finding in self._findings().items():
            if finding.state == "ok" and finding.settings:
                try:
                    found += models_of(self, plugin)
                except DstackError as error:
                    problem(error)
        return list({has.name: has for has in reversed(found)}.values())[::-1]

    def observers(self) -> Observers:
        """What tells the plugins' observer hooks about runs and jobs; costs nothing when no plugin observes."""
        from dstack_core._plugins.observe import observers

        return observers(self)

    # --- look-up -----------------------------------------------------------------------------------------------------

    def _make(self, kind: Kind, name: str, *given: Settings) -> object:
        """`given`: what the config says, if things of this kind have settings at all."""
        from dstack_core._plugins.load import PluginFailure, guarded

        owner, entry = self._find(kind, name)
        factory = self.load_entry(owner, kind, entry)
        settings = [self._settings(owner, entry, of_config) for of_config in given]
        try:
            made, _ = guarded(owner, "when made", lambda: factory(*settings), foreground=False)
        except PluginFailure as failure:
            raise broken(owner, kind, name, str(failure)) from failure
        contract = kind.contract_class()
        if not isinstance(made, contract):
            raise broken(owner, kind, name, f"it made {type(made).__name__}, which is no {contract.__name__}")
        return made

    def _settings(self, owner: Listed, entry: Entry[Any], given: Settings) -> Settings:
        if not is_set(entry.name, given):
            return {}
        from dstack_core._plugins.setting import settings_for

        return settings_for(owner, entry.name, entry.settings, given)

    def _find(self, kind: Kind, name: str) -> tuple[Listed, Entry[Any]]:
        owner, entry = self._by_name(kind, name)
        others = [p for p in self._others(kind, name, owner, search=entry is None) if p != owner]
        if owner is not None and entry is not None:
            others.insert(0, owner)
        if len(others) > 1:
            raise clash(kind, name, others)
        if owner is not None and entry is not None:
            return owner, entry
        for other in others:
            entry = self._entry(other, kind, name)
            if entry is not None:
                return other, entry
        raise self._missing(kind, name)

    def _by_name(self, kind: Kind, name: str) -> tuple[Listed | None, Entry[Any] | None]:
        """The plugin that is named after the capability, as its distribution would be (`provider-docker`) or plainly;
        and its entry, if it has one of that kind. Then no other has to be looked into."""
        owner = None
        for called in (f"{kind.prefix}{name}".removeprefix("dstack-"), name):
            owner = self.named(called) or owner
            if owner is not None and not self._known_without(owner, kind):
                entry = self._entry(owner, kind, name)
                if entry is not None:
                    return owner, entry
        return owner, None

    def _findings(self) -> dict[Listed, Finding]:
        """What is known of each usable plugin; what is not known is found out, in processes of their own."""
        from dstack_core._plugins.inspection import inspect

        known = {plugin: self.catalog.trusted(plugin) for plugin in self.usable()}
        found = inspect(self, [plugin for plugin, finding in known.items() if finding is None])
        return {plugin: finding or found[plugin] for plugin, finding in known.items()}

    def named(self, name: str) -> Listed | None:
        """The plugin of that name; of several, one that can be used: the user may have switched off another."""
        found = [plugin for plugin in self.listed() if plugin.name == name]
        usable = (plugin for plugin in found if self.verdict(plugin).state == "ok")
        return next(usable, found[0]) if len(found) > 1 else next(iter(found), None)

    def _known_without(self, plugin: Listed, kind: Kind) -> bool:
        """Whether an inspection of exactly this code found nothing of `kind`, so that importing it is no use."""
        finding = self.catalog.trusted(plugin) if self.verdict(plugin).state == "ok" else None
        return finding is not None and finding.state == "ok" and not finding.names(kind)

    def _others(self, kind: Kind, name: str, owner: Listed | None, *, search: bool) -> list[Listed]:
        """Plugins of another name that offer this one. Without `search` only what is known already counts."""
        usable = [plugin for plugin in self.usable() if plugin != owner]
        if search:
            from dstack_core._plugins.inspection import inspect

            findings = inspect(self, [plugin for plugin in usable if self.catalog.trusted(plugin) is None])
        else:
            findings = {}
        offering = []
        for plugin in usable:
            finding = findings.get(plugin) or self.catalog.trusted(plugin)
            if finding is not None and name in finding.names(kind) and (owner is None or plugin.value != owner.value):
                offering.append(plugin)
        return offering

    def _entry(self, plugin: Listed, kind: Kind, name: str) -> Entry[Any] | None:
        matching = [entry for entry in self.entries(plugin, kind) if entry.name == name]
        if len(matching) > 1:
            raise broken(plugin, kind, name, "it offers that name twice")
        return matching[0] if matching else None

    def _missing(self, kind: Kind, name: str) -> PluginError:
        if not self.policy.enabled:
            return switched_off(kind, name)
        findings = [self.catalog.known(plugin) for plugin in self.usable()]
        offered = sorted({name for finding in findings if finding is not None for name in finding.names(kind)})
        return missing(kind, name, offered, {canonical(plugin.distribution) for plugin in self.listed()})
