"""Plugin `ec2`: machines of EC2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_aws.machine_files import unneeded
from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.backend import Backend


def _backend() -> Callable[[Settings], Backend]:
    from dstack_aws.ec2_backend import Ec2Backend

    return Ec2Backend


def _settings() -> type[BaseModel]:
    from dstack_aws.settings import Ec2Settings

    return Ec2Settings


@hookimpl
def dstack_backends() -> Sequence[Entry[Callable[[Settings], Backend]]]:
    """The backend `ec2`."""
    return [Entry("ec2", "Machines of Amazon EC2, in your own account", _backend, _settings, unneeded)]
