"""The user's own config, `config.yaml` in `$DSTACK_HOME`. Nothing of it ever comes from the repository that is run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dstack_core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def config_file() -> Path:
    """Where the user's config is, whether or not it exists."""
    from dstack_core.home import dstack_home

    return dstack_home() / "config.yaml"


def read_config() -> Mapping[str, Any]:
    """The whole config; empty when there is no file.

    Raises:
        InputError: the file is not YAML, or not a mapping; `where` is file:line:column.
    """
    path = config_file()
    text = _text(path)
    return _parse(path, text) if text.strip() else {}


def plugin_switches() -> tuple[frozenset[str] | None, frozenset[str]]:
    """The user's list of allowed plugins (None: all), and those that they disabled.

    From `plugins: {allow: [...], disable: [...]}` of the config and from DSTACK_DISABLED_PLUGINS (comma separated).

    Raises:
        InputError: the config is broken.
    """
    disabled = {name.strip() for name in os.environ.get("DSTACK_DISABLED_PLUGINS", "").split(",")} - {""}
    path = config_file()
    text = _text(path)
    # YAML is slow to import, and most configs say nothing about plugins.
    if "plugins" not in text:
        return None, frozenset(disabled)
    plugins = _parse(path, text).get("plugins") or {}
    if not isinstance(plugins, Mapping):
        raise InputError("`plugins` must be a mapping with `allow` and `disable`", where=str(path))
    for key in plugins:
        if key not in ("allow", "disable"):
            raise InputError(f"`plugins` has no `{key}`; it has `allow` and `disable`", where=str(path))
    allowed = _names(plugins, "allow", path)
    return allowed, frozenset(disabled) | (_names(plugins, "disable", path) or frozenset())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None


def _parse(path: Path, text: str) -> Mapping[str, Any]:
    import yaml

    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InputError(str(getattr(error, "problem", None) or "is not YAML"), where=where) from None
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise InputError(f"must be a mapping, not {type(parsed).__name__}", where=f"{path}:1")
    return parsed


def _names(plugins: Mapping[str, Any], key: str, path: Path) -> frozenset[str] | None:
    names = plugins.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"`plugins.{key}` must be a list of names", where=str(path))
    return frozenset(names)
