"""The JSON Schema of workflow files, for editors: the properties of every workflow, and those of each provider.

It follows draft 7, which VS Code's YAML extension takes. It is a little more generous than `resolve`: what it refuses
is wrong, and what it takes may still be wrong in a way that no schema can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dstack_core._workflow import schema

if TYPE_CHECKING:
    from pydantic import BaseModel

Schema = dict[str, Any]

# Every scalar is its source text to us; an editor's YAML takes `3.11` for a number and `yes` for a text.
SCALAR: Final[Schema] = {"type": ["string", "number", "boolean"]}
_FLAG: Final[Schema] = {"enum": [True, False, "yes", "no", "on", "off", "true", "false"]}
_COUNT: Final[Schema] = {"type": ["integer", "string"], "pattern": r"^\d+$", "minimum": 0}
_SIZE: Final[Schema] = {"type": ["string", "number"]}


def _about(description: str, one: Mapping[str, Any]) -> Schema:
    return {"description": description, **one}


def _several(item: Schema, alone: Schema = SCALAR) -> Schema:
    """A list, or one simple value alone."""
    return {"anyOf": [alone, {"type": "array", "items": item}]}


def _mapping(properties: Mapping[str, Schema], *required: str) -> Schema:
    loose = {name: _or_nothing(one) if name not in required else one for name, one in properties.items()}
    return {"type": "object", "properties": loose, "required": list(required), "additionalProperties": False}


def _or_nothing(one: Mapping[str, Any]) -> Schema:
    """A property without a value is as one that is not there."""
    about = {key: value for key, value in one.items() if key in ("description", "default", "title")}
    rest = {key: value for key, value in one.items() if key not in about}
    return {**about, "anyOf": [rest, {"type": "null"}]}


_TEXTS: Final = _several(SCALAR)
_MATRIX_VALUES: Final[Schema] = {"type": "object", "additionalProperties": {"type": "array", "items": SCALAR}}
_CELLS: Final[Schema] = {"type": "array", "items": {"type": "object", "additionalProperties": SCALAR}}
_DEP: Final[Schema] = {
    "anyOf": [
        SCALAR,
        _mapping({"workflow": SCALAR, "mount": _FLAG}, "workflow"),
        _mapping({"tag": SCALAR, "mount": _FLAG}, "tag"),
    ]
}
_GPU: Final[Schema] = {"anyOf": [SCALAR, _mapping({"count": _COUNT, "name": SCALAR, "memory": _SIZE})]}
_CAUSE: Final[Schema] = {"enum": ["failure", "interruption", "failed", "interrupted"]}
_PORT: Final[Schema] = {"type": ["integer", "string"], "pattern": r"^(\d+:)?\d+$"}
_PORTS: Final[Schema] = {
    "anyOf": [
        {"type": ["integer", "string"], "pattern": r"^\d[\d:, ]*$", "minimum": 0},
        {"type": "array", "items": _PORT},
        {"type": "object", "additionalProperties": _PORT},
    ]
}
_RETRY: Final = _mapping({"attempts": _COUNT, "on": _several(_CAUSE, _CAUSE), "backoff": SCALAR}, "attempts")
_ENV: Final[Schema] = {
    "anyOf": [_TEXTS, {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}]
}

RESOURCES: Final[Mapping[str, Schema]] = {
    "cpu": _about("Virtual CPUs.", SCALAR),
    "memory": _about("Memory, e.g. 16GB.", _SIZE),
    "gpu": _about("GPUs: a number, a name like V100, or a mapping.", _GPU),
    "shm_size": _about("Size of /dev/shm, e.g. 8GB.", _SIZE),
    "disk": _about("Disk of the machine, e.g. 200GB.", _SIZE),
    "interruptible": _about("Take a spot machine.", _FLAG),
    "max_price": _about("What the machine may cost, in USD per hour.", SCALAR),
    "instance_types": _about("Types of machines that will do; any if there is none.", _TEXTS),
    "remote": _about("Run on a machine of the remote.", _FLAG),
    "local": _about("Run on this machine.", _FLAG),
}
"""What is said of each property of `resources`; its name and whether it exists is `schema.RESOURCES`' to say."""

PROPERTIES: Final[Mapping[str, Schema]] = {
    "name": _about("The workflow's name: `dstack run NAME`.", {"type": ["string", "number", "boolean"]}),
    "help": _about("What the workflow is for.", SCALAR),
    "deps": _about("Workflows, or `:tags`, whose artifacts are needed.", _several(_DEP)),
    "env": _about("Environment variables: a mapping, or a list of NAME=VALUE.", _ENV),
    "python": _about("Version of Python, e.g. 3.11.", SCALAR),
    "ports": _about("How many ports the job gets, as PORT_0, PORT_1, ..., or which.", _PORTS),
    "working_dir": _about("Folder of the repository to run in.", SCALAR),
    "artifacts": _about(
        "Folders and files to save.", _several({"anyOf": [SCALAR, _mapping({"path": SCALAR, "mount": _FLAG}, "path")]})
    ),
    "inputs": _about("Globs of the repository's files that the workflow depends on.", _TEXTS),
    "image": _about("Container image to run in.", SCALAR),
    "registry_auth": _about(
        "Who asks the registry for the image: username and `${{ secrets.NAME }}` as password.",
        _mapping({"username": SCALAR, "password": SCALAR}, "username", "password"),
    ),
    "executor": _about("What runs the job: process, docker, or what a plugin brings.", SCALAR),
    "retry": _about("How often to try, or when to try again.", {"anyOf": [_COUNT, _RETRY]}),
    "max_duration": _about("End an attempt after this time, e.g. 2h.", SCALAR),
    "matrix": _about(
        "One job for each combination of these values.",
        {
            "anyOf": [
                _mapping(
                    {"values": _MATRIX_VALUES, "max_parallel": _COUNT, "exclude": _CELLS, "include": _CELLS}, "values"
                ),
                _MATRIX_VALUES,
            ]
        },
    ),
}
"""What is said of each property of a workflow; whether it exists is `schema.PROPERTIES`' to say."""


def json_schema(providers: Mapping[str, type[BaseModel]]) -> Schema:
    """The schema of a workflow file. `providers`: by name, the models of their own properties."""
    workflow = {
        "type": "object",
        "required": ["name", "provider"],
        "properties": {"provider": {"description": "What runs the workflow.", "enum": sorted(providers)}},
        "allOf": [
            {
                "if": {"properties": {"provider": {"const": name}}, "required": ["provider"]},
                "then": {"$ref": f"#/definitions/{name}"},
            }
            for name in sorted(providers)
        ],
    }
    definitions: Schema = {"workflow": workflow}
    for name in sorted(providers):
        definitions[name] = _of_provider(name, providers[name], definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Workflows of dstack",
        "type": "object",
        "required": ["workflows"],
        "properties": {"workflows": {"type": ["array", "null"], "items": {"$ref": "#/definitions/workflow"}}},
        "definitions": definitions,
    }


def _of_provider(name: str, model: type[BaseModel], definitions: Schema) -> Schema:
    own = model.model_json_schema(ref_template=f"#/definitions/{name}.{{model}}")
    definitions.update({f"{name}.{part}": _loose(one) for part, one in own.pop("$defs", {}).items()})
    required = own.get("required", [])
    properties = {**_common(), "provider": {"const": name}}
    for key, one in own.get("properties", {}).items():
        properties[key] = _loose(one) if key in required else _or_nothing(_loose(one))
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": model.model_config.get("extra") == "allow",
    }


def _common() -> Schema:
    resources = {name: RESOURCES.get(name, {}) for name in schema.RESOURCES}
    found = {name: PROPERTIES.get(name, {}) for name in schema.PROPERTIES}
    found["resources"] = _about("What the job's machine must have.", _mapping(resources))
    common = {key: one if key == "name" else _or_nothing(one) for key, one in found.items()}
    return {**common, "environment": _or_nothing(_about("The same as `env`.", _ENV))}


def _loose(one: Any) -> Any:
    """A schema of pydantic's, made to take what stands in YAML: it checks the source text of every scalar."""
    if isinstance(one, list):
        return [_loose(item) for item in one]
    if not isinstance(one, dict):
        return one
    loose = {key: _loose(value) for key, value in one.items() if key not in ("title", "default")}
    kind = one.get("type")
    if kind == "string":
        loose["type"] = SCALAR["type"]
    elif kind in ("integer", "number", "boolean"):
        loose["type"] = [kind, "string"]  # it may be quoted
    return loose
