"""What can be set of plugins `local` and `file`. A module of its own, because pydantic is slow to import."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dstack_local.backend import GRACE


class LocalSettings(BaseModel):
    """`settings: {local: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    path: Path | None = Field(
        None, description="Folder of the artifact store; by default `store` in the user's dstack folder."
    )
    grace: float = Field(
        GRACE, ge=0, le=3600, description="Seconds that a runner gets to save what its jobs made, before it is killed."
    )


class FileSettings(BaseModel):
    """`settings: {file: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    path: Path | None = Field(
        None, description="File of the secrets; by default `secrets.json` in the user's dstack folder."
    )
