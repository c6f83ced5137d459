"""What a user can set of a plugin: a pydantic model, and values from the environment, the user's config, or nowhere.

A plugin names the model where it names what has the settings: in its `Entry`, or in the hook
`dstack_observer_settings`. Each field has a description and a default; one that nobody may see is a
`pydantic.SecretStr`.

    class DockerSettings(BaseModel):
        image: str = Field("ubuntu", description="Image of jobs that name none.")
        token: SecretStr | None = Field(None, description="For the registry.")

What means something on the user's own computer only, such as a profile or a socket there, says so: machines that are
other computers are not told it, nor any secret.

    profile: str | None = Field(None, description="Whose credentials.", json_schema_extra=HERE)

The environment (`DSTACK_DOCKER_IMAGE`) wins over `settings: {docker: {image: ...}}` of the config. What is set
nowhere is not in the mapping that the plugin gets, so that most of the time no model has to be imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from dstack_core._config.reading import Config, is_set, unknown_key, variable
from dstack_core.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.fields import FieldInfo

Model = Callable[[], "type[BaseModel]"]
HERE: Final[dict[str, Any]] = {"here": True}
"""Marks a field of which machines that are other computers are not told."""


def read_settings(plugin: str, load: Model | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The checked values of those settings that are set; secrets as plain text.

    Args:
        plugin: whose they are.
        load: gives the model; None: there are no settings. Only called when something is set.
        given: what the user's config says.

    Raises:
        InputError: a value is wrong, or there is no such setting; `where` is its place.
    """
    if not is_set(plugin, given):
        return {}
    if load is None:
        if given:
            raise unknown_key(next(iter(given)), (), _place(plugin, next(iter(given)), key=True))
        return {}
    model = load()
    return check_settings(plugin, model, {**given, **from_environment(plugin, model)})


def configured(plugin: str, load: Model, remote: str | None = None) -> dict[str, Any]:
    """The checked settings that a remote has, for commands that a plugin brings.

    `remote`: its name; by default the user's default remote, or the only one; if there is none, what all would have.

    Raises:
        NotFoundError: there is no such remote.
        InputError: the config is broken, does not say which remote is the default, or a value is wrong.
    """
    config = Config.read()
    return read_settings(plugin, load, config.settings_for(config.remote(remote or "") or "").get(plugin, {}))


def machines_launch(remote: str | None = None) -> bool:
    """Whether a remote's machines may launch the next ones of their runs; `remote` as in `configured`.

    Raises:
        NotFoundError, InputError: as `configured` does.
    """
    config = Config.read()
    return config.switch(config.remote(remote or "") or "", "machines_launch", default=True)


def check_settings(plugin: str, model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a plugin gets when `given` is written. Raises InputError as `read_settings` does."""
    from pydantic import ValidationError

    known = fields(model)
    for name in given:
        if name not in known:
            raise unknown_key(name, known, _place(plugin, name, key=True))
    try:
        checked = model.model_validate(dict(given))
    except ValidationError as error:
        raise _explain(plugin, error) from None
    return {name: plain(value) for name, value in checked.model_dump(exclude_unset=True).items()}


def from_environment(plugin: str, model: type[BaseModel]) -> dict[str, Any]:
    """Those settings that the environment has, as they are written there."""
    found = {}
    for name, field in fields(model).items():
        text = os.environ.get(variable(plugin, name))
        if text is not None:
            found[name] = parse_text(text, field, variable(plugin, name))
    return found


def parse_text(text: str, field: FieldInfo, where: str | None = None) -> Any:
    """A value from text: where a field is no text itself, `[a, b]` and `{a: b}` are a list and a mapping.

    Raises:
        InputError: it begins like one and is none.
    """
    from pydantic import SecretStr

    if text[:1] not in ("[", "{") or field.annotation in (str, SecretStr):
        return text
    import yaml

    try:
        return yaml.load(text, yaml.BaseLoader)  # noqa: S506  makes text, lists and dicts only
    except yaml.YAMLError as error:
        message = f"neither a list nor a mapping: {getattr(error, 'problem', error)}"
        raise InputError(message, where=where, hint="write it like [a, b] or {a: b}") from None


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the names that users write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def wrong_value(model: type[BaseModel], name: str, value: Any) -> str | None:
    """Why a field cannot have this value, whatever the others have; None when it can."""
    from pydantic import ValidationError

    try:
        model.model_validate({name: value})
    except ValidationError as error:
        mine = [one for one in error.errors(include_url=False) if one["loc"][:1] == (name,)]
        return _say(mine[0]["msg"]) if mine else None
    return None


def is_secret(field: FieldInfo) -> bool:
    """Whether nobody may see its value."""
    return "Secret" in str(field.annotation)


def is_for_machines(field: FieldInfo) -> bool:
    """Whether machines that are other computers are told its value."""
    extra = field.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("here")) and not is_secret(field)


def _explain(plugin: str, error: ValidationError) -> InputError:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return InputError(f"settings of {plugin}: {_say(first['msg'])}", where=_place(plugin))
    path = ".".join(str(step) for step in first["loc"])
    name = str(first["loc"][0])
    if first["type"] == "missing" and len(first["loc"]) == 1:
        hint = f"dstack config set settings.{plugin}.{name} VALUE"
        return InputError(f"{plugin} needs the setting `{name}`", where=_place(plugin), hint=hint)
    set_by = variable(plugin, name)
    where = set_by if set_by in os.environ else _place(plugin, *first["loc"])
    return InputError(f"`settings.{plugin}.{path}`: {_say(first['msg'])}", where=where, hint="dstack config --show")


def _say(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:].replace("should be", "must be")


def _place(plugin: str, *path: object, key: bool = False) -> str | None:
    try:
        return Config.read().locate("settings", plugin, *path, key=key)
    except InputError:
        return None


def plain(value: Any) -> Any:
    """The value with its secrets as plain text, sets and tuples as lists."""
    from pydantic import SecretBytes, SecretStr

    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple, set, frozenset)) else value
