"""Plugin `s3`: artifacts and records in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_aws.machine_files import unneeded
from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.artifact_store import ArtifactStore


def _store() -> Callable[[Settings], ArtifactStore]:
    from dstack_aws.s3_store import S3Store

    return S3Store


def _settings() -> type[BaseModel]:
    from dstack_aws.settings import S3Settings

    return S3Settings


@hookimpl
def dstack_artifact_stores() -> Sequence[Entry[Callable[[Settings], ArtifactStore]]]:
    """The artifact store `s3`."""
    return [Entry("s3", "A bucket of S3, or of a server that speaks its protocol", _store, _settings, unneeded)]
