"""The command line options of a workflow's provider, as data: `_cli` makes them into real ones."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Kind = Literal["text", "integer", "number", "flag", "texts"]


@dataclass(frozen=True)
class OptionSpec:
    """One option of `dstack run WORKFLOW`.

    Attributes:
        name: the key in `overrides` of `resolve`.
        flags: how it is written, short form first.
        kind: `texts` may be given several times; a `flag` takes no value, and has `off_flags` for its opposite.
        metavar: what stands for its value in the help.
        choices: the only values that it takes; empty: any.
        own: it belongs to the provider, not to every workflow.
    """

    name: str
    flags: tuple[str, ...]
    kind: Kind
    help: str
    metavar: str = "TEXT"
    off_flags: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    own: bool = False


def _option(name: str, kind: Kind, help: str, metavar: str = "TEXT", *flags: str) -> OptionSpec:  # noqa: A002
    flags = flags or (f"--{name.replace('_', '-')}",)
    off = (f"--no-{name.replace('_', '-')}",) if kind == "flag" else ()
    return OptionSpec(name, flags, kind, help, metavar, off)


COMMON: Final = (
    _option("env", "texts", "Set an environment variable, or take it from here.", "NAME[=VALUE]", "-e", "--env"),
    _option("dep", "texts", "Workflow or :tag whose artifacts are needed, instead of the workflow's own.", "NAME"),
    _option("artifact", "texts", "Folder or file to save, instead of the workflow's own.", "PATH"),
    _option("input", "texts", "Files that it depends on, instead of the workflow's own.", "GLOB"),
    _option("cpu", "text", "Virtual CPUs.", "NUMBER"),
    _option("memory", "text", "Memory, e.g. 16GB.", "SIZE"),
    _option("gpu", "text", "GPUs: a number, a name or NAME:NUMBER.", "GPU"),
    _option("gpu_name", "text", "Name of the GPUs, e.g. V100.", "NAME"),
    _option("gpu_memory", "text", "Memory per GPU, e.g. 16GB.", "SIZE"),
    _option("shm_size", "text", "Size of /dev/shm, e.g. 8GB.", "SIZE"),
    _option("disk", "text", "Disk of the machine, e.g. 200GB.", "SIZE"),
    _option("interruptible", "flag", "Take a spot machine."),
    _option("max_price", "text", "What the machine may cost, in USD per hour.", "USD"),
    _option(
        "instance_types", "texts", "Machine that will do, instead of the workflow's own.", "TYPE", "--instance-type"
    ),
    _option("python", "text", "Version of Python, e.g. 3.11.", "VERSION"),
    _option("image", "text", "Container image to run in.", "IMAGE"),
    _option("executor", "text", "How to run it: process, docker, or what a plugin brings.", "NAME"),
    _option("working_dir", "text", "Folder of the repository to run in.", "PATH"),
    _option("ports", "text", "How many ports the job gets, or which: 8501,8080:80.", "PORTS"),
    _option("retry", "text", "How often to try.", "NUMBER"),
    _option("max_duration", "text", "End an attempt after this time, e.g. 2h.", "TIME"),
)
"""The options that every workflow has, whatever its provider."""

_SCALARS: Final[dict[Any, Kind]] = {str: "text", int: "integer", float: "number", bool: "flag"}


RESERVED: Final = frozenset(
    "-d --detach -t --tag --budget --local --offline -r --remote --force --reuse --json -h --help".split()
)
"""How the options of `dstack run` and `dstack plan` themselves are written."""


def all_options(own: Iterable[OptionSpec]) -> list[OptionSpec]:
    """The options of every workflow, then those of a provider's own properties, less the ways to write them that are
    taken; a property for which none is left is set in the workflow file only."""
    found = list(COMMON)
    taken = {flag for option in COMMON for flag in (*option.flags, *option.off_flags)} | RESERVED
    for option in own:
        flags = tuple(flag for flag in option.flags if flag not in taken)
        off = tuple(flag for flag in option.off_flags if flag not in taken)
        if flags:
            found.append(replace(option, flags=flags, off_flags=off))
            taken.update(flags, off)
    return found


def options_of(model: type[BaseModel], short: Mapping[str, str]) -> list[OptionSpec]:
    """The options of a provider's own properties. `short`: its `Provider.short_options`."""
    found = (_from_field(field.alias or name, field, short) for name, field in model.model_fields.items())
    return [option for option in found if option is not None]


def _from_field(name: str, field: FieldInfo, short: Mapping[str, str]) -> OptionSpec | None:
    kind, choices = _kind(field.annotation)
    if kind is None:
        return None
    long = f"--{name.replace('_', '-')}"
    off = (f"--no-{long[2:]}",) if kind == "flag" else ()
    flags = (short[name], long) if name in short else (long,)
    metavar = {"integer": "NUMBER", "number": "NUMBER"}.get(kind, "TEXT")
    return OptionSpec(name, flags, kind, field.description or "", metavar, off, choices, own=True)


def _kind(hint: Any) -> tuple[Kind | None, tuple[str, ...]]:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kind(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        members = [m for m in typing.get_args(hint) if m is not type(None)]
        return _kind(members[0]) if len(members) == 1 else (None, ())
    if origin is typing.Literal and all(isinstance(c, str) for c in typing.get_args(hint)):
        return "text", typing.get_args(hint)
    if origin in (list, tuple) and typing.get_args(hint)[:1] == (str,):
        return "texts", ()
    return _SCALARS.get(hint), ()
