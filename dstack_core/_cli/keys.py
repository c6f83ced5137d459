"""Keys of the config as they are typed, and their values from text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dstack_core._config.reading import LIMITS, REMOTE, Config, unknown_key
from dstack_core._suggest import close_match
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from dstack_core._plugins.setting import HasSettings


def steps_of(key: str) -> list[str]:
    """`remotes.team.settings.s3.bucket` as steps. The last may have dots of its own."""
    return key.split(".", 4 if key.startswith("remotes.") and ".settings." in key else 2)


def is_setting(path: Sequence[str]) -> bool:
    """Whether it is a field of a plugin's, of all remotes or of one."""
    return path[0] == "settings" or (len(path) == 5 and path[2] == "settings")


def known_path(key: str, config: Config, models: Sequence[HasSettings]) -> list[str]:
    """The steps of a key that can be set. Raises InputError with the key that comes closest."""
    from dstack_core._cli.configured import keys

    path = steps_of(key)
    if is_setting(path) and len(path) > 1:
        _check_setting(key, path, models)
        return path
    of_new_remote = path[0] == "remotes" and len(path) == 3 and bool(path[1])
    known = keys(config, models)
    if of_new_remote and path[2] not in (*REMOTE, *LIMITS):
        raise unknown_key(path[2], (*REMOTE, *LIMITS, "settings.PLUGIN.FIELD"), key)
    if of_new_remote or key in known:
        return path
    close = close_match(key, known)
    raise InputError(f"unknown key `{key}`", hint=f"did you mean {close}?" if close else "dstack config --show")


def _check_setting(key: str, path: Sequence[str], models: Sequence[HasSettings]) -> None:
    *before, plugin, field = path if len(path) > 2 else (*path, "")
    known = {has.name: has for has in models}
    if plugin not in known:
        close = close_match(plugin, known)
        hint = f"did you mean {'.'.join((*before, close))}?" if close else "dstack plugins"
        raise InputError(f"no installed plugin has settings `{plugin}`", where=key, hint=hint)
    from dstack_core.settings import fields

    there = fields(known[plugin].model)
    if field not in there:
        close = close_match(field, there)
        hint = f"did you mean {'.'.join((*before, plugin, close))}?" if close else "dstack config --show"
        raise InputError(f"unknown key `{key}`", hint=hint)


def checked_value(path: Sequence[str], value: str, config: Config, models: Sequence[HasSettings]) -> Any:
    """What is to be written. Raises InputError when it cannot be right."""
    from dstack_core._engine.remote import DEFAULT

    key = ".".join(path)
    if is_setting(path):
        from dstack_core._cli.configured import problem_of

        has = next(one for one in models if one.name == path[-2])
        problem = problem_of(has, path[-1], value)
        if problem:
            raise InputError(problem, where=key)
        return from_text(has, path[-1], value)
    if path[0] == "plugins":
        return [name.strip() for name in value.strip("[] ").split(",") if name.strip()]
    if path[0] == "default" and value not in (names := [DEFAULT.name, *config.remotes]):
        close = close_match(value, names)
        hint = f"did you mean {close}?" if close else f"dstack config set remotes.{value}.backend BACKEND"
        raise InputError(f"there is no remote {value}", where=key, hint=hint)
    return value


def from_text(has: HasSettings, field: str, text: str) -> Any:
    """A field's value as it is to be written. Raises InputError."""
    from dstack_core.settings import fields, parse_text

    return parse_text(text, fields(has.model)[field])


def is_secret_path(path: Sequence[str], models: Sequence[HasSettings]) -> bool:
    """Whether nobody may see the value."""
    from dstack_core.settings import fields, is_secret

    return is_setting(path) and any(has.name == path[-2] and is_secret(fields(has.model)[path[-1]]) for has in models)
