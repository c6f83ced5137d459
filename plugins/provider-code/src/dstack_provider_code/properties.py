"""The YAML properties of provider `code`. Apart from the provider, because pydantic is slow to import."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from dstack_core.errors import InputError
from dstack_core.units import parse_duration

SHORTEST: Final = 60
"""Seconds; code-server wants more than that."""
_LINES: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _lines(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _idle(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except InputError as error:
        raise ValueError(f"{error} ({error.hint})") from None
    if seconds <= SHORTEST:
        raise ValueError(f"`{text}` is too short: write more than {SHORTEST} seconds")
    return text


Lines = Annotated[list[str], BeforeValidator(_lines), WithJsonSchema(_LINES)]


class CodeProperties(BaseModel):
    """What may stand in a `provider: code` workflow beside the properties of every workflow."""

    model_config = ConfigDict(extra="forbid")

    setup: Lines = Field(default=[], description="Shell commands to run before the server starts.")
    extensions: Lines = Field(
        default=[], description="Extensions to install: names in Open VSX, or .vsix files of the repository."
    )
    version: str | None = Field(
        default=None, pattern=r"^\d+\.\d+\.\d+$", description="Version of code-server, e.g. 4.139.1."
    )
    idle_duration: Annotated[str, AfterValidator(_idle)] | None = Field(
        default=None, description="End it, with everything saved, after so long a time without a window; e.g. 30m."
    )
    server: str | None = Field(
        default=None, min_length=1, description="The code-server to start: a program's path or name."
    )
    url: str | None = Field(
        default=None,
        pattern=r"^(https?|file)://\S+$",
        description="Where its archive is had, with {version}, {os} and {arch}; by default at its project's releases.",
    )
    sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 that the archive must have."
    )
