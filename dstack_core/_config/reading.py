"""What stands in the user's config, and where in it. Nothing is imported for a config that says nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from dstack_core.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from dstack_core._yaml import Document

TOP: Final = ("plugins", "default", "offline", "remotes", "settings")
SWITCHES: Final = ("allow", "disable")
REMOTE: Final = ("backend", "artifact_store", "secret_store", "executor", "container_executor")
LIMITS: Final = ("machines", "lease", "max_duration", "machines_launch", "idle")
YES: Final = frozenset({"true", "yes", "on"})
NO: Final = frozenset({"false", "no", "off"})
HOME: Final = "local"
"""The remote that everybody has: this machine."""


def config_file() -> Path:
    """Where the user's config is, whether or not it exists."""
    from dstack_core.home import dstack_home

    return dstack_home() / "config.yaml"


class Config:
    """A config as it is written: every scalar is its source text, None where there is no value.

    Attributes:
        path: the file, which need not exist.
    """

    def __init__(self, path: Path, document: Document | None = None) -> None:
        self.path = path
        self._document = document
        self._root = _checked(self)

    @classmethod
    def read(cls) -> Config:
        """The user's config; empty when there is no file.

        Raises:
            InputError: it is not YAML, or has a key or a value that it cannot have; `where` is file:line:column.
        """
        return cls.parse(config_file())

    @classmethod
    def parse(cls, path: Path, text: str | None = None) -> Config:
        """The config in `text`, by default what `path` holds. Raises as `read` does."""
        text = read_text(path) if text is None else text
        if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
            return cls(path)
        from dstack_core._yaml import compose

        return cls(path, compose(text, str(path)))

    @property
    def root(self) -> Mapping[str, Any]:
        """All of it."""
        return self._root

    @property
    def plugins(self) -> Mapping[str, list[str]]:
        """Names of plugins under `allow` and `disable`."""
        return self._root.get("plugins") or {}

    @property
    def default(self) -> str | None:
        """The remote that is used when none is named."""
        return self._root.get("default")

    @property
    def remotes(self) -> Mapping[str, Mapping[str, str]]:
        """By name: which plugins go together."""
        remotes = self._root.get("remotes") or {}
        return {name: {k: v for k, v in (of or {}).items() if k in REMOTE and v} for name, of in remotes.items()}

    def remote(self, name: str = "") -> str | None:
        """The remote of that name; without one the `default`, or the only one beside this machine; None: there is none.

        Raises:
            NotFoundError: there is none of that name.
            InputError: there are several, and nothing says which.
        """
        chosen = name or self.default or self._only()
        if chosen is None or chosen == HOME or chosen in self.remotes:
            return chosen
        from dstack_core._suggest import close_match

        close = close_match(chosen, [HOME, *self.remotes])
        raise NotFoundError(
            f"there is no remote {chosen}",
            hint=f"did you mean {close}?" if close else "dstack config --show",
            where=None if name else self.locate("default"),
        )

    def _only(self) -> str | None:
        others = [name for name in self.remotes if name != HOME]
        if len(others) > 1:
            raise InputError(f"which remote? There are {', '.join(others)}", hint="dstack config set default NAME")
        return others[0] if others else None

    def limits(self, remote: str) -> Mapping[str, str]:
        """What one remote allows, as it is written."""
        written = (self._root.get("remotes") or {}).get(remote) or {}
        return {name: written[name] for name in LIMITS if written.get(name)}

    @property
    def offline(self) -> bool:
        """Whether remotes are asked only if they are named. Raises InputError."""
        return self._switch(self._root.get("offline"), "offline", default=False)

    def switch(self, remote: str, name: str, *, default: bool) -> bool:
        """One of the limits that says yes or no. Raises InputError."""
        return self._switch(self.limits(remote).get(name), "remotes", remote, name, default=default)

    def _switch(self, written: str | None, *path: str, default: bool) -> bool:
        if written is None:
            return default
        if written.lower() not in YES | NO:
            raise _wrong(self, f"must be true or false, not `{written}`", *path)
        return written.lower() in YES

    def own_settings(self, remote: str) -> Mapping[str, Mapping[str, Any]]:
        """By the name of a plugin, what one remote has instead of `settings`."""
        own = ((self._root.get("remotes") or {}).get(remote) or {}).get("settings") or {}
        return {name: {k: v for k, v in (of or {}).items() if v is not None} for name, of in own.items()}

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """By the name of a plugin, as they are written: only its own model can tell whether they are right."""
        settings = self._root.get("settings") or {}
        return {name: {k: v for k, v in (of or {}).items() if v is not None} for name, of in settings.items()}

    def settings_for(self, remote: str) -> Mapping[str, Mapping[str, Any]]:
        """By the name of a plugin, as they are written: those of all remotes, and what this one has instead."""
        shared, own = self.settings, self.own_settings(remote)
        return {**shared, **{plugin: {**shared.get(plugin, {}), **own[plugin]} for plugin in own}}

    def locate(self, *path: object, key: bool = False) -> str:
        """`file:line:column` of a value, or of the nearest thing around it. `key`: of its key."""
        return self._document.locate(path, key=key) if self._document else str(self.path)


def plugin_switches() -> tuple[frozenset[str] | None, frozenset[str]]:
    """The user's list of allowed plugins (None: all), and those that they disabled.

    From `plugins: {allow: [...], disable: [...]}` of the config and from DSTACK_DISABLED_PLUGINS (comma separated).

    Raises:
        InputError: the config is broken.
    """
    disabled = {name.strip() for name in os.environ.get("DSTACK_DISABLED_PLUGINS", "").split(",")} - {""}
    path = config_file()
    text = read_text(path)
    # YAML is slow to import, and most configs say nothing about plugins.
    if "plugins" not in text:
        return None, frozenset(disabled)
    switches = Config.parse(path, text).plugins
    allowed = switches.get("allow")
    return None if allowed is None else frozenset(allowed), frozenset(disabled | {*(switches.get("disable") or ())})


def read_text(path: Path) -> str:
    """The text of a config, nothing when there is none. Raises InputError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None


def variable(plugin: str, field: str) -> str:
    """The environment variable that sets a field of a plugin's settings: `DSTACK_<PLUGIN>_<FIELD>`."""
    return f"DSTACK_{plugin}_{field}".upper().replace("-", "_").replace(".", "_")


def is_set(plugin: str, given: Mapping[str, Any]) -> bool:
    """Whether there may be settings of a plugin, `given` by the config or in the environment: without any import."""
    prefix = variable(plugin, "")
    return bool(given) or any(name.startswith(prefix) for name in os.environ)


def unknown_key(key: str, known: Iterable[str], where: str | None) -> InputError:
    """The error for a key that is none of the `known` ones."""
    from dstack_core._suggest import close_match

    known = list(known)
    close = close_match(key, known)
    there = f"there are: {', '.join(known)}" if known else "it takes none"
    return InputError(f"unknown key `{key}`", where=where, hint=f"did you mean `{close}`?" if close else there)


def _checked(config: Config) -> Mapping[str, Any]:
    document = config._document
    root = document.root if document else None
    if root is None:
        return {}
    _refuse(root)
    _mapping(config, root)
    _known(config, root, TOP)
    if isinstance(plugins := root.get("plugins"), dict):
        _known(config, plugins, SWITCHES, "plugins")
        for key in plugins:
            _names(config, plugins[key], "plugins", key)
    elif plugins is not None:
        raise _wrong(config, "must be a mapping with `allow` and `disable`", "plugins")
    for name in ("default", "offline"):
        _text(config, root.get(name), name)
    for name, remote in _mapping(config, root.get("remotes"), "remotes").items():
        _known(config, _mapping(config, remote, "remotes", name), (*REMOTE, *LIMITS, "settings"), "remotes", name)
        for key in (*REMOTE, *LIMITS):
            _text(config, (remote or {}).get(key), "remotes", name, key)
        for plugin, own in _mapping(config, (remote or {}).get("settings"), "remotes", name, "settings").items():
            _mapping(config, own, "remotes", name, "settings", plugin)
    for name, settings in _mapping(config, root.get("settings"), "settings").items():
        _mapping(config, settings, "settings", name)
    return cast("Mapping[str, Any]", root)


def _mapping(config: Config, value: Any, *path: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(config, "must be a mapping", *path)
    return value


def _known(config: Config, value: Mapping[str, Any], known: Iterable[str], *path: str) -> None:
    for key in value:
        if key not in known:
            raise unknown_key(key, known, config.locate(*path, key, key=True))


def _text(config: Config, value: Any, *path: str) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise _wrong(config, "must be a name", *path)


def _names(config: Config, value: Any, *path: str) -> None:
    if value is not None and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise _wrong(config, "must be a list of names", *path)


def _wrong(config: Config, message: str, *path: str) -> InputError:
    message = f"`{'.'.join(path)}` {message}" if path else f"the config {message}"
    return InputError(message, where=config.locate(*path))


def _refuse(value: Any) -> None:
    """Raise the first thing in it that the YAML reader could not take."""
    if isinstance(value, InputError):
        raise value
    refused = getattr(value, "refused", None)
    if refused is not None:
        raise refused
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse(item)
