"""What can be set of plugin `docker`. A module of its own, because pydantic is slow to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dstack_core.settings import HERE
from dstack_docker.choices import Choices, split_mount

USUAL = Choices()


def _network(name: str) -> str:
    if name == "host" or name.startswith("container:"):
        raise ValueError(f"cannot be {name}: each job has a network of its own")
    return name


def _mount(mount: str) -> str:
    split_mount(mount)
    return mount


class DockerSettings(BaseModel):
    """`settings: {docker: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(USUAL.image, min_length=1, description="Image of jobs that name none; best one with Conda.")
    user: Literal["caller", "image"] = Field(
        "caller", description="Who a job is in its container: `caller`, you; `image`, who the image says."
    )
    network: Annotated[str, AfterValidator(_network)] = Field(
        USUAL.network, min_length=1, description="Network of the engine that jobs are in."
    )
    env: dict[str, str] = Field(dict(USUAL.env), description="Variables that every job gets.")
    mounts: list[Annotated[str, AfterValidator(_mount)]] = Field(
        list(USUAL.mounts), description="Files and folders that every job gets: /here:/there, or /here:/there:ro."
    )
    host: str | None = Field(
        USUAL.host,
        description="Address of the engine; by default DOCKER_HOST, else Docker's current context.",
        json_schema_extra=HERE,
    )
