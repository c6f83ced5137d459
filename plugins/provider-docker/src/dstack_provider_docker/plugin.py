"""Plugin `provider-docker`: the provider `docker`. The plugin `docker` is somebody else: the executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, hookimpl

if TYPE_CHECKING:
    from dstack_core.provider import Provider


def _provider() -> Callable[[], Provider]:
    from dstack_provider_docker.provider import DockerProvider

    return DockerProvider


@hookimpl
def dstack_providers() -> Sequence[Entry[Callable[[], Provider]]]:
    """The provider `docker`."""
    return [Entry("docker", "Runs a container image", _provider)]
