"""The settings of a plugin: which models it has, and the values that one of its capabilities or observers gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dstack_core._plugins.check import Verdict
from dstack_core._plugins.kinds import KINDS
from dstack_core._plugins.refusal import DOCTOR, unusable
from dstack_core.settings import Model, read_settings

if TYPE_CHECKING:
    import types

    from pydantic import BaseModel

    from dstack_core._plugins.listing import Listed
    from dstack_core._plugins.world import World

HOOK = "dstack_observer_settings"


class HasSettings(NamedTuple):
    """Something with settings. `name`: under which they stand in the config."""

    name: str
    plugin: Listed
    model: type[BaseModel]


def settings_for(plugin: Listed, name: str, model: Model | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values of what is set under `name`.

    Raises:
        InputError: the user wrote something wrong.
        PluginError: the plugin's model cannot be had.
    """
    return read_settings(name, None if model is None else lambda: load_model(plugin, model), given)


def load_model(plugin: Listed, model: Model) -> type[BaseModel]:
    """The model itself. Raises PluginError."""
    from dstack_core._plugins.load import PluginFailure, guarded

    try:
        loaded, _ = guarded(plugin, "when its settings were asked for", model, foreground=False)
    except PluginFailure as failure:
        raise unusable(plugin, Verdict("failed", str(failure), DOCTOR)) from failure
    from pydantic import BaseModel

    if not isinstance(loaded, type) or not issubclass(loaded, BaseModel):
        reason = f"its settings must be a pydantic model, not {type(loaded).__name__}"
        raise unusable(plugin, Verdict("failed", reason, DOCTOR))
    return loaded


def observer_model(world: World, module: types.ModuleType) -> Model | None:
    """What gives the model of a loaded plugin's observers; None when they have no settings."""
    if HOOK not in world.hooks(module):
        return None

    def model() -> type[BaseModel]:
        (answer,) = world.caller(module, HOOK)()
        found: type[BaseModel] = answer
        return found

    return model


def models_of(world: World, plugin: Listed) -> list[HasSettings]:
    """Every model of a plugin, each name once; loads the plugin. Raises PluginError."""
    module = world.load(plugin).module
    found: dict[str, Model] = {}
    for kind in KINDS:
        for entry in world.entries(plugin, kind):
            if entry.settings is not None:
                found.setdefault(entry.name, entry.settings)
    observed = observer_model(world, module)
    if observed is not None:
        found.setdefault(plugin.name, observed)
    return [HasSettings(name, plugin, load_model(plugin, model)) for name, model in found.items()]
