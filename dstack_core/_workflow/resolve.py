"""From a raw entry, its provider's properties and the command line to a checked `Workflow`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Final, cast

from dstack_core._suggest import close_match
from dstack_core._workflow import schema, template
from dstack_core._workflow.fields import WrongValue, flag, gpu
from dstack_core._workflow.raw import RawWorkflow
from dstack_core._workflow.references import check_references, dotted, texts
from dstack_core.errors import DstackError, InputError
from dstack_core.models import Gpu, Requirements, Workflow

if TYPE_CHECKING:
    from pydantic import ValidationError

    from dstack_core._workflow.own import OwnProperties

_LATER: Final = {"nodes"}
_RESOURCES: Final = {*schema.RESOURCES, "gpu_name", "gpu_memory"} - {"local", "remote"}  # options of `run` and `plan`
_LISTS: Final = {"dep": "deps", "artifact": "artifacts", "input": "inputs"}


def resolve(
    raw: RawWorkflow,
    own: OwnProperties,
    overrides: Mapping[str, object],
    args: Sequence[str],
    environ: Mapping[str, str],
) -> Workflow:
    """Check the entry, apply the command line and fill in what the caller's environment gives.

    `own`: of the entry's provider. `overrides` are keyed as `OptionSpec.name`; None and empty sequences mean not
    given. `environ` is only looked at for variables of `env` that have no value.

    Raises:
        InputError: something in the entry or in an override is wrong; `where` is its place or its option.
        PluginError: the provider's own code failed.
    """
    given = {name: value for name, value in overrides.items() if value is not None and value != () and value != []}
    if raw.of and given:
        from dstack_core._workflow.cells import fill_options

        given = fill_options(given, raw.of)
    return _Resolution(raw, own, given).workflow(tuple(args), environ)


def ad_hoc(
    provider_name: str,
    own: OwnProperties,
    overrides: Mapping[str, object],
    args: Sequence[str],
    environ: Mapping[str, str],
) -> Workflow:
    """A workflow without YAML, named like its provider. Raises as `resolve` does."""
    return resolve(RawWorkflow(provider_name, {"provider": provider_name}), own, overrides, args, environ)


def wants_remote(raw: RawWorkflow) -> bool:
    """Whether its `resources` have `remote: true`. What is wrong there is told by `resolve`."""
    resources = raw.data.get("resources")
    try:
        return isinstance(resources, Mapping) and flag(resources.get("remote", False))
    except WrongValue:
        return False


class _Resolution:
    def __init__(self, raw: RawWorkflow, own: OwnProperties, overrides: Mapping[str, object]) -> None:
        self.raw = raw
        self.own = own
        self.overrides = overrides

    def workflow(self, args: tuple[str, ...], environ: Mapping[str, str]) -> Workflow:
        about = self.own.about
        shared, rest = self._split(about.names, about.open_ended)
        properties = self._own_properties(about.names, rest)
        fields = self._fields(self._parsed(shared))
        if self.overrides:
            self._override(fields, about.names)
        if "env" in fields:
            fields["env"] = self._env(fields["env"], environ)
        workflow = Workflow(self.raw.name, self.raw.provider, args=args, properties=properties, **fields)
        check_references(workflow, self._env_path, self._place_of_value)
        return workflow

    # --- the entry ---

    def _split(self, own: frozenset[str], open_ended: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """The properties of every workflow, and the provider's. One that both have goes to both."""
        known = schema.PROPERTIES.keys()
        shared: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for key, value in self.raw.data.items():
            if key not in known and key not in own and key != "environment" and not open_ended:
                raise self._unknown(key, known | own | {"environment"})
            if value is None:
                continue
            if key in own or (open_ended and key not in known):
                rest[key] = value
            if key in known:
                shared[key] = value
        if "environment" in self.raw.data and "environment" not in own:
            if "env" in shared:
                raise self._error(("environment",), "is the same as `env`", "keep one of them", key=True)
            shared["env"] = rest.pop("environment", self.raw.data["environment"]) or {}
        if isinstance(shared.get("resources"), dict):
            shared["resources"] = {k: v for k, v in shared["resources"].items() if v is not None}
        return shared, rest

    def _unknown(self, key: str, known: Set[str]) -> InputError:
        if key in _LATER:
            return InputError(f"`{key}` is not supported yet", where=self._place((key,), key=True), hint="remove it")
        close = close_match(key, known)
        hint = f"did you mean `{close}`?" if close else f"known are: {', '.join(sorted(known))}"
        return InputError(f"unknown property `{key}`", where=self._place((key,), key=True), hint=hint)

    def _own_properties(self, names: frozenset[str], rest: dict[str, Any]) -> dict[str, Any]:
        given = {**rest, **{name: value for name, value in self.overrides.items() if name in names}}
        for path, text in texts(given):
            if "\0" in text:  # neither an argument nor a script can hold one, and a model seldom says so
                raise self._error(path, "holds a NUL character", None)
        try:
            return self.own.check(given)
        except DstackError:
            raise
        except ValueError as error:  # pydantic's ValidationError, which is slow to import
            raise self._explain(cast("ValidationError", error)) from None

    def _parsed(self, shared: Mapping[str, Any], *, options: bool = False) -> dict[str, Any]:
        """Values of properties that every workflow has."""
        try:
            return schema.parse(shared, schema.PROPERTIES)
        except WrongValue as wrong:
            raise self._error(wrong.path, wrong.message, wrong.hint, options=options, key=wrong.at_key) from None

    def _fields(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of `Workflow`. `resources` is split into requirements and `remote`."""
        fields = {name: value for name, value in found.items() if name in _PASSED_ON}
        if "resources" in found:
            wanted = dict(found["resources"])
            remote, local = wanted.pop("remote", False), wanted.pop("local", False)
            if remote and local:
                raise self._error(("resources", "local"), "contradicts `remote`", "keep one of them")
            fields["remote"] = remote
            fields["resources"] = Requirements(**wanted)
        fields["where"] = self.raw.where
        fields["cell"] = self.raw.of
        return fields

    # --- the command line ---

    def _override(self, fields: dict[str, Any], own: frozenset[str]) -> None:
        shared: dict[str, Any] = {}
        for name, value in self.overrides.items():
            if name in _RESOURCES:
                shared.setdefault("resources", {})[name] = value
            elif (key := _LISTS.get(name, name)) in _OVERRIDABLE:
                shared[key] = value
            elif name not in own:
                raise InputError("unknown option", where=self._flag(name), hint="see `dstack run WORKFLOW --help`")
        parts = {k: shared["resources"].pop(k) for k in ("gpu_name", "gpu_memory") if k in shared.get("resources", {})}
        found = self._parsed(shared, options=True)
        given, env = found.pop("resources", {}), found.pop("env", {})
        if "retry" in found and "retry" in fields:
            # A number says how often; after what, and how soon, stays as the file says.
            found["retry"] = dataclasses.replace(fields["retry"], attempts=found["retry"].attempts)
        fields.update(found)
        fields["env"] = {**fields.get("env", {}), **env}
        self._override_resources(fields, given, parts)

    def _override_resources(self, fields: dict[str, Any], given: dict[str, Any], parts: Mapping[str, Any]) -> None:
        before = fields.get("resources", Requirements())
        if "gpu" in given and before.gpu and str(self.overrides["gpu"]).isdigit():
            # A number alone says how many; which ones stays as the file says.
            given["gpu"] = given["gpu"] and dataclasses.replace(before.gpu, count=given["gpu"].count)
        if parts:
            given["gpu"] = self._gpu(given.get("gpu", before.gpu) or Gpu(), parts)
        fields["resources"] = dataclasses.replace(before, **given)

    def _gpu(self, wanted: Gpu, parts: Mapping[str, Any]) -> Gpu:
        for option, value in parts.items():
            part = option.removeprefix("gpu_")
            try:
                found = gpu({"count": wanted.count, part: value})
            except WrongValue as error:
                raise InputError(error.message, where=self._flag(option), hint=error.hint) from None
            if found is not None:
                wanted = dataclasses.replace(wanted, **{part: getattr(found, part)})
        return wanted

    # --- afterwards ---

    def _env(self, env: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
        found = {}
        for name, value in env.items():
            if value is None and name not in environ:
                message = f"the variable {name} is to be taken from your environment, which does not have it"
                raise InputError(
                    message,
                    where=self._place_of_value(self._env_path(name)),
                    hint=f"`export {name}=...`, or write `{name}=VALUE`",
                )
            found[name] = template.escape(environ[name]) if value is None else value
        return found

    def _env_path(self, name: str) -> tuple[object, ...]:
        key = "environment" if "environment" in self.raw.data and "env" not in self.raw.data else "env"
        written = self.raw.data.get(key)
        if self._is_on_command_line(name):
            return ("env", name)
        if isinstance(written, list):
            return next(((key, i) for i, item in enumerate(written) if str(item).partition("=")[0] == name), (key,))
        return (key, name)

    def _is_on_command_line(self, name: str) -> bool:
        given = self.overrides.get("env", ())
        return isinstance(given, (list, tuple)) and any(str(item).partition("=")[0] == name for item in given)

    # --- errors ---

    def _explain(self, error: ValidationError) -> InputError:
        first = error.errors(include_url=False)[0]
        path, kind = tuple(first["loc"]), first["type"]
        hint = None
        if kind == "string_type" and isinstance(first["input"], dict):
            hint = "a `: ` makes a mapping of it: put quotes around the whole"
        wrong = first.get("ctx", {}).get("error")
        if kind == "missing" and len(path) == 1:
            return self._missing(str(path[0]))
        if kind == "extra_forbidden":
            message = "unknown key"
        elif wrong is not None:
            message, hint = getattr(wrong, "message", str(wrong)), getattr(wrong, "hint", None)
            path += tuple(getattr(wrong, "path", ()))
        else:
            message = _SAID.get(kind) or first["msg"][:1].lower() + first["msg"][1:].replace("should be", "must be")
        at_key = kind == "extra_forbidden" or getattr(wrong, "at_key", False)
        return self._error(path, message, hint, key=at_key)

    def _missing(self, name: str) -> InputError:
        flags = next((" or ".join(o.flags) for o in self.own.options if o.name == name), None)
        if self.raw.where is None:
            hint = f"give it with {flags}" if flags else None
        else:
            hint = f"add `{name}:`" + (f", or give {flags}" if flags else "")
        message = f"provider `{self.raw.provider}` needs `{name}`"
        return InputError(message, where=self._place((name,)) or self.raw.provider, hint=hint)

    def _error(
        self, path: tuple[object, ...], message: str, hint: str | None, *, options: bool = False, key: bool = False
    ) -> InputError:
        top = str(path[0]) if path else ""
        name = str(path[1]) if top == "resources" and len(path) > 1 else top
        if options or name in self.overrides:
            return InputError(message, where=self._flag(name), hint=hint)
        if top == "env" and "env" not in self.raw.data:
            path = ("environment", *path[1:])
        return InputError(f"`{dotted(path)}`: {message}", where=self._place(path, key=key), hint=hint)

    def _place_of_value(self, path: tuple[object, ...]) -> str | None:
        if path[0] == "env" and self._is_on_command_line(str(path[-1])):
            return self._flag("env")
        return self._flag(str(path[0])) if path[0] in self.overrides and path[0] != "env" else self._place(path)

    def _place(self, path: tuple[object, ...], *, key: bool = False) -> str | None:
        return self.raw.locate(path, key=key)

    def _flag(self, name: str) -> str:
        single = next((option for option, key in _LISTS.items() if key == name), name)
        found = next((o.flags[-1] for o in self.own.options if o.name == single), None)
        return found or f"--{single.replace('_', '-')}"


_PASSED_ON: Final = (
    "help",
    "deps",
    "env",
    "python",
    "ports",
    "working_dir",
    "artifacts",
    "inputs",
    "image",
    "registry_auth",
    "executor",
    "retry",
    "max_duration",
)
_OVERRIDABLE: Final = frozenset(_PASSED_ON) - {"help", "registry_auth"}
_SAID: Final = {
    "string_type": "must be one text value",
    "list_type": "must be a list",
    "too_short": "is empty",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "missing": "is missing",
    "bool_parsing": "must be `true` or `false`",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
}
