"""The YAML properties of provider `docker`. Apart from the provider, because pydantic is slow to import."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from dstack_provider_docker.entrypoint import split

_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


def _lines(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _words(value: object) -> object:
    return split(value) if isinstance(value, str) else value


def _named(words: list[str] | None) -> list[str] | None:
    if words is not None and not (words and all(words)):
        raise ValueError("names no program")
    return words


class DockerProperties(BaseModel):
    """What may stand in a `provider: docker` workflow beside the properties of every workflow."""

    model_config = ConfigDict(extra="forbid")

    commands: Annotated[list[str], BeforeValidator(_lines), WithJsonSchema(_SCHEMA)] = Field(
        default=[], description="Commands to run in the image, instead of its own."
    )
    entrypoint: Annotated[
        list[str] | None, BeforeValidator(_words), AfterValidator(_named), WithJsonSchema(_SCHEMA)
    ] = Field(default=None, description="The program that runs, or that `commands` are given to.")
