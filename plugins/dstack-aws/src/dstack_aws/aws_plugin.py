"""Plugin `aws`: the command `dstack aws`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, hookimpl

if TYPE_CHECKING:
    import click


def _command() -> click.Command:
    from dstack_aws.command import aws

    return aws


@hookimpl
def dstack_commands() -> Sequence[Entry[click.Command]]:
    """The command `aws`."""
    return [Entry("aws", "Prepare an AWS account: roles, a security group, policies", _command)]
