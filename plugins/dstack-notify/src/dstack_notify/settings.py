"""What can be set of plugin `notify`. Apart from the plugin, because pydantic is slow to import."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dstack_notify.notice import STATUSES

Status = Literal["done", "failed", "stopped", "aborted"]


def _words(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


def _statuses(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


class NotifySettings(BaseModel):
    """`settings: {notify: {...}}` of the user's config."""

    model_config = ConfigDict(extra="forbid")

    command: Annotated[list[str], BeforeValidator(_words)] | None = Field(
        None,
        min_length=1,
        description="Program and arguments, read by no shell; the event is in DSTACK_EVENT and on stdin.",
    )
    desktop: bool = Field(True, description="Show it on the desktop, where there is one.")
    on: Annotated[list[Status], BeforeValidator(_statuses)] = Field(
        list(STATUSES), description="Which ends of a run to tell: done, failed, stopped, aborted."
    )
