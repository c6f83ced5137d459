"""Plugin `notify`: an observer of finished runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstack_core.hookspecs import Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.models import RunEvent


@hookimpl
def dstack_observer_settings() -> type[BaseModel]:
    """`command`, `desktop` and `on`."""
    from dstack_notify.settings import NotifySettings

    return NotifySettings


@hookimpl
def dstack_run_finished(event: RunEvent, settings: Settings) -> None:
    """Tell it as the settings say."""
    from dstack_notify.notice import notify

    notify(event, settings)
