"""Plugin `secrets-manager`: secrets in AWS Secrets Manager."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_aws.machine_files import unneeded
from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.secret_store import SecretStore


def _store() -> Callable[[Settings], SecretStore]:
    from dstack_aws.secrets_store import SecretsManagerStore

    return SecretsManagerStore


def _settings() -> type[BaseModel]:
    from dstack_aws.settings import SecretsManagerSettings

    return SecretsManagerSettings


@hookimpl
def dstack_secret_stores() -> Sequence[Entry[Callable[[Settings], SecretStore]]]:
    """The secret store `secrets-manager`."""
    return [Entry("secrets-manager", "AWS Secrets Manager", _store, _settings, unneeded)]
