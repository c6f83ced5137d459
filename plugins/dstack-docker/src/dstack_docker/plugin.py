"""Plugin `docker`: jobs in containers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.executor import Executor


def _executor() -> Callable[[Settings], Executor]:
    from dstack_docker.executor import DockerExecutor

    return DockerExecutor


def _settings() -> type[BaseModel]:
    from dstack_docker.settings import DockerSettings

    return DockerSettings


@hookimpl
def dstack_executors() -> Sequence[Entry[Callable[[Settings], Executor]]]:
    """The executor `docker`."""
    return [Entry("docker", "A container with an image of its own", _executor, _settings)]
