"""Everything that can be configured: its keys, its values, and where each value comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from dstack_core import settings
from dstack_core._config.reading import LIMITS, REMOTE, SWITCHES, Config, variable
from dstack_core._engine.remote import DEFAULT
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from dstack_core._plugins.setting import HasSettings

HIDDEN: Final = "********"
DISABLED: Final = "DSTACK_DISABLED_PLUGINS"
_REMOTE_ABOUT: Final = {
    "backend": "Gives machines.",
    "artifact_store": "Keeps code, artifacts, logs and records.",
    "secret_store": "Keeps secrets.",
    "executor": "Runs the jobs that need no container.",
    "container_executor": "Runs the jobs that need a container.",
    "machines": "Machines that a run may have at once.",
    "lease": "How long a machine lives that nobody keeps alive.",
    "max_duration": "How long a machine lives at most.",
    "machines_launch": "Whether a machine launches the next one of its run.",
    "idle": "How long a machine waits for another run.",
}


@dataclass(frozen=True)
class Value:
    """One key and what it is now.

    Attributes:
        value: as it is written, or the default; `HIDDEN` for a secret that is set.
        source: `default`, `file:line:column`, or an environment variable.
        problem: why the value cannot be taken.
    """

    key: str
    value: Any
    source: str
    about: str = ""
    secret: bool = False
    problem: str | None = None

    def row(self) -> dict[str, Any]:
        """For a listing."""
        return asdict(self)


def values(config: Config, models: Sequence[HasSettings]) -> Iterator[Value]:
    """Every key that there is, and those of plugins that are not installed."""
    yield _written(config, None, "The remote that `--remote` without a name means.", "default")
    yield _written(config, False, "Ask remotes only if they are named.", "offline")
    for key in SWITCHES:
        about = "The only plugins that may be used." if key == "allow" else "Plugins that are not used."
        yield _written(config, None, about, "plugins", key)
    if os.environ.get(DISABLED):
        yield Value("plugins.disable", os.environ[DISABLED].split(","), DISABLED, "Plugins that are not used.")
    for name in dict.fromkeys([DEFAULT.name, *config.remotes]):
        for key in REMOTE:
            yield _written(config, getattr(DEFAULT, key), _REMOTE_ABOUT[key], "remotes", name, key)
        for key in LIMITS:
            yield _written(config, getattr(DEFAULT.limits, key), _REMOTE_ABOUT[key], "remotes", name, key)
        yield from _own(config, name, models)
    for has in models:
        yield from setting_values(config, has)
    known = {has.name: settings.fields(has.model) for has in models}
    for name, given in config.settings.items():
        for key in given:
            if key not in known.get(name, ()):
                # Whose it is, and whether it is a secret, is not known.
                problem = "there is no such setting" if name in known else f"no installed plugin has settings `{name}`"
                place = config.locate("settings", name, key, key=True)
                yield Value(f"settings.{name}.{key}", HIDDEN, place, "", True, problem)


def _own(config: Config, remote: str, models: Sequence[HasSettings]) -> Iterator[Value]:
    """What a remote has instead of the settings that all remotes share."""
    known = {has.name: has for has in models}
    for plugin, own in config.own_settings(remote).items():
        for name, written in own.items():
            steps = ("remotes", remote, "settings", plugin, name)
            place, has = config.locate(*steps), known.get(plugin)
            field = settings.fields(has.model).get(name) if has else None
            if has is None or field is None:
                problem = f"`{plugin}` has no such setting" if has else f"no installed plugin has settings `{plugin}`"
                yield Value(".".join(steps), HIDDEN, place, "", True, problem)
                continue
            secret = settings.is_secret(field)
            shown = HIDDEN if secret else written
            yield Value(".".join(steps), shown, place, field.description or "", secret, problem_of(has, name, written))


def setting_values(config: Config, has: HasSettings) -> Iterator[Value]:
    """The settings of one plugin."""
    for name, field in settings.fields(has.model).items():
        secret, about = settings.is_secret(field), field.description or ""
        written, source = _source(config, has.name, name)
        problem = None if written is None else problem_of(has, name, written)
        shown = _default(field) if written is None else written
        hidden = HIDDEN if secret and shown is not None else shown
        yield Value(f"settings.{has.name}.{name}", hidden, source, about, secret, problem)


def problem_of(has: HasSettings, name: str, written: Any) -> str | None:
    """Why the field cannot have this value, text being as `parse_text` takes it; None when it can."""
    try:
        field = settings.fields(has.model)[name]
        value = settings.parse_text(written, field) if isinstance(written, str) else written
    except InputError as error:
        return error.message
    return settings.wrong_value(has.model, name, value)


def keys(config: Config, models: Sequence[HasSettings]) -> list[str]:
    """What can be set."""
    return list(dict.fromkeys(value.key for value in values(config, models)))


def _source(config: Config, plugin: str, name: str) -> tuple[Any, str]:
    """The value as it is written, None when it is not, and where."""
    by = variable(plugin, name)
    if by in os.environ:
        return os.environ[by], by
    written: Mapping[str, Any] = config.settings.get(plugin, {})
    if name in written:
        return written[name], config.locate("settings", plugin, name)
    return None, "default"


def _written(config: Config, default: Any, about: str, *path: str) -> Value:
    found: Any = config.root
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    key = ".".join(path)
    return Value(key, default, "default", about) if found is None else Value(key, found, config.locate(*path), about)


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else settings.plain(field.get_default(call_default_factory=True))
