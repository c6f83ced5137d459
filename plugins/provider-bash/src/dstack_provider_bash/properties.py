"""The YAML properties of provider `bash`. Apart from the provider, because pydantic is slow to import."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema


def _lines(value: object) -> object:
    return [value] if isinstance(value, str) else value


_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Commands = Annotated[list[str], BeforeValidator(_lines), WithJsonSchema(_SCHEMA)]


class BashProperties(BaseModel):
    """What may stand in a `provider: bash` workflow beside the properties of every workflow."""

    model_config = ConfigDict(extra="forbid")

    commands: Commands = Field(
        min_length=1, description="Shell commands, run in order; the first that fails ends the job."
    )
    setup: Commands = Field(default=[], description="Shell commands to run before `commands`.")
