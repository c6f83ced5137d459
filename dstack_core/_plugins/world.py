"""What is installed here, what is known of it, and what of it was imported: the state that this room's parts share."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

from dstack_core import hookspecs
from dstack_core._plugins.check import OK, Policy, Verdict, check
from dstack_core._plugins.kinds import Kind, entries_in, lacks
from dstack_core._plugins.listing import Listed, list_plugins
from dstack_core._plugins.refusal import DOCTOR, broken, unusable
from dstack_core.hookspecs import Entry

if TYPE_CHECKING:
    import types

    from dstack_core._plugins.catalog import Catalog
    from dstack_core._plugins.load import Loaded


class World:
    """The plugins of this environment, each listed, checked and loaded when somebody asks for it."""

    def __init__(self, policy: Callable[[], Policy]) -> None:
        self._policy_of = policy
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._listed: tuple[Listed, ...] | None = None
        self._verdicts: dict[Listed, Verdict] = {}
        self._loaded: dict[Listed, Loaded] = {}
        self._lock = threading.RLock()

    @classmethod
    def only(cls, plugin: Listed) -> World:
        """A world with one plugin, unchecked: for looking into it."""
        world = cls(Policy)
        world._listed = (plugin,)
        world._verdicts[plugin] = OK
        return world

    @functools.cached_property
    def policy(self) -> Policy:
        """What the user switched off. Raises InputError when the user's config is broken."""
        return self._policy_of()

    @functools.cached_property
    def catalog(self) -> Catalog:
        """What earlier inspections learned."""
        from dstack_core._plugins.catalog import Catalog

        return Catalog.read()

    def listed(self) -> tuple[Listed, ...]:
        """Every installed plugin, whatever its state."""
        if self._listed is None:
            self._listed = list_plugins()
        return self._listed

    def verdict(self, plugin: Listed) -> Verdict:
        """The plugin's state as far as it is known: from metadata, and `failed` once loading it failed here."""
        if plugin not in self._verdicts:
            self._verdicts[plugin] = check(plugin, self.listed(), self.policy)
        return self._verdicts[plugin]

    def usable(self) -> list[Listed]:
        """The plugins that nothing is known against."""
        return [plugin for plugin in self.listed() if self.verdict(plugin).state == "ok"]

    def load(self, plugin: Listed, *, foreground: bool = True) -> Loaded:
        """Import and register a plugin, once.

        Raises:
            PluginError: it is not usable; the reason is in the message.
        """
        from dstack_core._plugins.load import PluginFailure, load

        with self._lock:
            if plugin in self._loaded:
                return self._loaded[plugin]
            if self.verdict(plugin).state != "ok":
                raise unusable(plugin, self.verdict(plugin))
            try:
                self._loaded[plugin] = load(plugin, self._manager, foreground=foreground)
            except PluginFailure as failure:
                raise self._failed(plugin, failure) from failure
            return self._loaded[plugin]

    def entries(self, plugin: Listed, kind: Kind) -> list[Entry[Any]]:
        """What a plugin offers of one kind; loads the plugin.

        Raises:
            PluginError: it is not usable, or its hook is broken.
        """
        from dstack_core._plugins.load import PluginFailure, guarded

        module = self.load(plugin).module
        try:
            entries, _ = guarded(plugin, f"in `{kind.hook}`", lambda: self.ask(module, kind))
        except PluginFailure as failure:
            raise self._failed(plugin, failure) from failure
        return entries

    def load_entry(self, plugin: Listed, kind: Kind, entry: Entry[Any]) -> Any:
        """What an entry of a plugin leads to: a factory of the capability, or a command.

        Raises:
            PluginError: it cannot be imported, or is not what its kind asks for.
        """
        from dstack_core._plugins.load import PluginFailure, guarded

        try:
            loaded, _ = guarded(plugin, "when loaded", entry.load)
        except PluginFailure as failure:
            raise broken(plugin, kind, entry.name, str(failure)) from failure
        lack = lacks(kind, loaded)
        if lack is not None:
            raise broken(plugin, kind, entry.name, f"it {lack}")
        return loaded

    def ask(self, module: types.ModuleType, kind: Kind) -> list[Entry[Any]]:
        """The entries of one registered module. Through pluggy, so that a hook may gain arguments."""
        return entries_in(self.caller(module, kind.hook)(), kind)

    def caller(self, module: types.ModuleType, hook: str) -> pluggy.HookCaller:
        """The hook, calling one registered module only."""
        rest = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        return self._manager.subset_hook_caller(hook, rest)

    def hooks(self, module: types.ModuleType) -> list[str]:
        """The hooks that a registered module implements."""
        return [caller.name for caller in self._manager.get_hookcallers(module) or ()]

    def _failed(self, plugin: Listed, failure: Exception) -> Exception:
        self._verdicts[plugin] = Verdict("failed", str(failure), DOCTOR)
        return unusable(plugin, self._verdicts[plugin])
