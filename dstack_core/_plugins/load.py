"""Load and register: import one plugin's module, and hand it to pluggy, or say why not."""

from __future__ import annotations

import types
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, NamedTuple, TypeVar

import pluggy
from stevedore.named import NamedExtensionManager

from dstack_core._plugins.capture import quiet
from dstack_core._plugins.listing import Listed
from dstack_core.errors import DstackError
from dstack_core.hookspecs import GROUP

T = TypeVar("T")
PATIENCE = 5.0
"""Seconds after which a person is told which plugin is still loading."""


class PluginFailure(Exception):
    """Why a plugin cannot be used, in words."""


class Loaded(NamedTuple):
    """A plugin that is imported and registered. `printed`: what it wrote to stdout and stderr meanwhile."""

    plugin: Listed
    module: types.ModuleType
    printed: str


class _OnlyThese(NamedExtensionManager[Any]):
    """stevedore's loader, given entry points that were listed and checked, instead of its own cached listing."""

    def __init__(self, plugin: Listed, failures: list[BaseException]) -> None:
        self._checked = [plugin.entry_point]
        super().__init__(
            GROUP,
            names=[plugin.name],
            on_load_failure_callback=lambda _manager, _entry_point, error: failures.append(error),
            on_missing_entrypoints_callback=None,
        )

    def list_entry_points(self) -> list[EntryPoint]:
        return self._checked


def load(plugin: Listed, manager: pluggy.PluginManager, *, foreground: bool = True) -> Loaded:
    """Import `plugin` and register it with `manager`; nothing stays registered when this fails.

    `foreground`: keep what it prints from the terminal. Not for threads: file descriptors belong to the process.

    Raises:
        PluginFailure: whatever the plugin's code raised, or its hooks are not hooks.
    """
    module, printed = guarded(plugin, "when imported", lambda: _import(plugin), foreground=foreground)
    if not isinstance(module, types.ModuleType):
        raise PluginFailure(f"its entry point must name a module, and `{plugin.value}` is {_a(module)}")
    _register(plugin, module, manager)
    return Loaded(plugin, module, printed)


def guarded(plugin: Listed, moment: str, action: Callable[[], T], *, foreground: bool = True) -> tuple[T, str]:
    """Run a plugin's code; returns its result and what it printed.

    Raises:
        PluginFailure: it raised anything but KeyboardInterrupt or an error meant for people.
    """
    try:
        if not foreground:
            return action(), ""
        with quiet(PATIENCE, f"still loading plugin {plugin}; Ctrl+C to give up") as output:
            result = action()
        return result, output.text
    except (KeyboardInterrupt, DstackError, PluginFailure):
        raise
    except BaseException as error:
        raise PluginFailure(describe(error, moment)) from error


def describe(error: BaseException, moment: str) -> str:
    """An exception of a plugin in one line, with the place where it was raised."""
    if isinstance(error, SystemExit):
        return f"it tried to exit the program {moment} (SystemExit: {error.code}){_place(error)}"
    text = " ".join(_text_of(error).split())
    name = type(error).__name__
    return f"{name}: {text}{_place(error)}" if text else f"{name} {moment}{_place(error)}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be read)"


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})" if error.lineno and str(error.lineno) not in str(error) else ""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and "/importlib/" not in file:
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _import(plugin: Listed) -> object:
    if not plugin.name or not plugin.value:
        raise PluginFailure("its entry point is malformed; it must read `name = package.module`")
    failures: list[BaseException] = []
    loaded = list(_OnlyThese(plugin, failures))
    if failures:
        raise failures[0]
    return loaded[0].plugin


def _register(plugin: Listed, module: types.ModuleType, manager: pluggy.PluginManager) -> None:
    if manager.is_registered(module):
        return  # two entry points of one distribution may share a module
    wrong = _unmarked_hook(module, manager)
    if wrong is not None:
        raise PluginFailure(wrong)
    try:
        manager.register(module, name=plugin.name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        _unregister(module, manager)
        raise PluginFailure(_misspelt(module, manager) or " ".join(str(error).split("\n")[-1].split())) from None
    if not manager.get_hookcallers(module):
        _unregister(module, manager)
        raise PluginFailure("it implements no hook of dstack")


def _unregister(module: types.ModuleType, manager: pluggy.PluginManager) -> None:
    if manager.is_registered(module):
        manager.unregister(module)


def _hooks(manager: pluggy.PluginManager) -> list[str]:
    return [name for name, caller in vars(manager.hook).items() if caller.has_spec()]


def _unmarked_hook(module: types.ModuleType, manager: pluggy.PluginManager) -> str | None:
    """pluggy overlooks a function without `@hookimpl`; its author thinks that it is a hook."""
    for name, value in vars(module).items():
        if not isinstance(value, types.FunctionType) or manager.parse_hookimpl_opts(module, name) is not None:
            continue
        if name in _hooks(manager):
            return f"its function `{name}` lacks `@hookimpl`"
        close = _close(name, manager) if name.startswith("dstack_") else None
        if close:
            return f"its function `{name}` is no hook; did you mean `{close}`, with `@hookimpl`?"
    return None


def _misspelt(module: types.ModuleType, manager: pluggy.PluginManager) -> str | None:
    for name in vars(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is None:
            continue
        hook = options.get("specname") or name
        if hook not in _hooks(manager):
            close = _close(hook, manager)
            return f"`{hook}` is no hook of dstack" + (f"; did you mean `{close}`?" if close else "")
    return None


def _close(name: str, manager: pluggy.PluginManager) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(name, _hooks(manager), 1, 0.75)), None)


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
