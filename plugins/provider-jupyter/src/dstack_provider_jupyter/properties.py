"""The YAML properties of the Jupyter providers. Apart from them, because pydantic is slow to import."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from dstack_core.errors import InputError
from dstack_core.units import parse_duration

_VERSION: Final = re.compile(r"\d+(\.\d+){0,2}")
_LINES: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _lines(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _duration(text: str) -> str:
    try:
        parse_duration(text)
    except InputError as error:
        raise ValueError(f"{error} ({error.hint})") from None
    return text


def _version(text: str, first: int) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError(f"`{text}` is not a version (write it like `{first}` or `{first}.2.5`)")
    if int(text.partition(".")[0]) < first:
        raise ValueError(f"version {text} is too old (it needs at least {first})")
    return text


Commands = Annotated[list[str], BeforeValidator(_lines), WithJsonSchema(_LINES)]
Duration = Annotated[str, AfterValidator(_duration)]


class JupyterProperties(BaseModel):
    """What both providers have beside the properties of every workflow."""

    model_config = ConfigDict(extra="forbid")

    setup: Commands = Field(default=[], description="Shell commands to run before the server starts.")
    idle_duration: Duration | None = Field(
        default=None, description="End it, with everything saved, after so long a time without use; e.g. 30m."
    )


class LabProperties(JupyterProperties):
    """What may stand in a `provider: lab` workflow beside the properties of every workflow."""

    version: Annotated[str, AfterValidator(lambda text: _version(text, 3))] | None = Field(
        default=None, description="Version of JupyterLab, 3 or newer: 4, 4.2 or 4.2.5."
    )


class NotebookProperties(JupyterProperties):
    """What may stand in a `provider: notebook` workflow beside the properties of every workflow."""

    version: Annotated[str, AfterValidator(lambda text: _version(text, 7))] | None = Field(
        default=None, description="Version of Jupyter Notebook, 7 or newer: 7, 7.2 or 7.2.3."
    )
