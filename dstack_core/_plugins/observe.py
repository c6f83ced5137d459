"""Tell plugins' observer hooks what happens to runs and jobs.

Each observing plugin has a thread of its own, which loads it and then hands it the events in their order, so that a
plugin that is slow, hangs or raises holds up neither the runner nor another plugin. A plugin that nothing is known
about is first looked at as text, which costs microseconds, and only if that does not settle it, in a process.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from dstack_core._plugins.kinds import OBSERVERS
from dstack_core._plugins.world import World

if TYPE_CHECKING:
    from dstack_core._plugins.listing import Listed
    from dstack_core.models import JobEvent, RunEvent

_BACKLOG = 10_000
"""Events kept for a plugin that does not keep up; the oldest are dropped."""


class Observers:
    """Delivers events; no method raises or waits for a plugin, except `close`, which waits shortly.

    `watching`: which of the hooks each plugin may have.
    """

    def __init__(self, world: World, watching: Mapping[Listed, Collection[str]]) -> None:
        self._mailboxes = [(_Mailbox(world, plugin), hooks) for plugin, hooks in watching.items()]

    def run_started(self, event: RunEvent) -> None:
        """A runner began to work on a run."""
        self._tell("dstack_run_started", event)

    def job_changed(self, event: JobEvent) -> None:
        """A job's status changed, and the change is stored."""
        self._tell("dstack_job_changed", event)

    def run_finished(self, event: RunEvent) -> None:
        """A run reached its last status."""
        self._tell("dstack_run_finished", event)

    def close(self, timeout: float = 5.0) -> None:
        """Wait until the plugins have seen all events, at most `timeout` seconds in all."""
        until = time.monotonic() + timeout
        for mailbox, _ in self._mailboxes:
            mailbox.close(until)

    def _tell(self, hook: str, event: RunEvent | JobEvent) -> None:
        for mailbox, hooks in self._mailboxes:
            if hook in hooks:
                mailbox.put(hook, event)


class _Mailbox:
    """The events for one plugin. The thread starts with the first event."""

    def __init__(self, world: World, plugin: Listed) -> None:
        self._world, self._plugin = world, plugin
        self._events: deque[tuple[str, RunEvent | JobEvent]] = deque()
        self._changed = threading.Condition()
        self._closed = self._dropping = False
        self._thread: threading.Thread | None = None

    def put(self, hook: str, event: RunEvent | JobEvent) -> None:
        with self._changed:
            if self._closed:
                return
            if len(self._events) >= _BACKLOG:
                self._events.popleft()
                self._dropping = True
            self._events.append((hook, event))
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver, name=f"plugin-{self._plugin.name}", daemon=True)
                self._thread.start()

    def close(self, until: float) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is None:
            return
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            _log(self._plugin, "did not finish in time; it may have missed %d events", len(self._events))

    def _deliver(self) -> None:
        call = self._prepare()
        while True:
            with self._changed:
                while not self._events and not self._closed:
                    self._changed.wait()
                if not self._events:
                    return
                hook, event = self._events.popleft()
                dropping, self._dropping = self._dropping, False
            if dropping:
                _log(self._plugin, "does not keep up; it missed events")
            if call is not None:
                self._call(call, hook, event)

    def _prepare(self) -> Callable[[str, object], None] | None:
        """What calls the plugin's hooks; None when it has none, or cannot be loaded."""
        try:
            finding = self._world.catalog.trusted(self._plugin)
            if finding is None:
                from dstack_core._plugins.inspection import inspect

                finding = inspect(self._world, [self._plugin])[self._plugin]
            if finding.state != "ok":
                _log(self._plugin, "is not told about runs: %s", finding.reason)
                return None
            if not finding.observers:
                return None
            return _hook_caller(self._plugin)
        except BaseException as error:
            _log(self._plugin, "is not told about runs: %s", error)
            return None

    def _call(self, call: Callable[[str, object], None], hook: str, event: RunEvent | JobEvent) -> None:
        try:
            call(hook, event)
        except BaseException:
            _log(self._plugin, "raised in %s", hook, trace=True)


def observers(world: World) -> Observers:
    """Observers of those plugins that may have observer hooks; without any, an object that does nothing."""
    return Observers(world, watching(world))


def watching(world: World) -> Mapping[Listed, Collection[str]]:
    """The plugins that may have observer hooks, and which."""
    hooks = {plugin: _hooks_of(world, plugin) for plugin in world.usable()}
    return {plugin: found for plugin, found in hooks.items() if found}


def _hook_caller(plugin: Listed) -> Callable[[str, object], None]:
    """Load a plugin, in this thread; returns what calls one of its hooks with an event. Raises PluginError."""
    from dstack_core._config.reading import Config
    from dstack_core._plugins.setting import observer_model, settings_for

    # A world of its own: a plugin that hangs while it is loaded holds no lock that others wait for.
    alone = World.only(plugin)
    module = alone.load(plugin, foreground=False).module
    given = Config.read().settings.get(plugin.name, {})
    settings = settings_for(plugin, plugin.name, observer_model(alone, module), given)

    def call(hook: str, event: object) -> None:
        alone.caller(module, hook)(event=event, settings=settings)

    return call


def _hooks_of(world: World, plugin: Listed) -> Collection[str]:
    """The observer hooks that the plugin has, or may have."""
    finding = world.catalog.trusted(plugin)
    if finding is not None and finding.state == "ok":
        return finding.observers
    source = _source(plugin.value)
    # A hook is found by its name in the module, so the name is in its text, unless it came by a star import.
    if source is None or re.search(r"import\s*\*|specname|exec\(|globals\(", source):
        return OBSERVERS
    return [hook for hook in OBSERVERS if hook in source]


def _source(module: str) -> str | None:
    """The text of a module, found without importing its packages; None if it is not plain Python in a plain folder."""
    from importlib.machinery import PathFinder

    path = None
    parts = module.partition(":")[0].strip().split(".")
    try:
        for depth in range(1, len(parts) + 1):
            spec = PathFinder.find_spec(".".join(parts[:depth]), path)
            if spec is None:
                return None
            path = spec.submodule_search_locations
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        with open(spec.origin, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (OSError, ImportError, ValueError):
        return None


def _log(plugin: Listed, message: str, *details: object, trace: bool = False) -> None:
    import logging

    logging.getLogger("dstack.plugins").warning("plugin %s " + message, plugin, *details, exc_info=trace)
