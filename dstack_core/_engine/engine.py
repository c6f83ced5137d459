"""What bringing a run forward needs."""

from __future__ import annotations

from dataclasses import dataclass

from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import Remote
from dstack_core._engine.settle import Tell
from dstack_core.artifact_store import ArtifactStore
from dstack_core.backend import Backend


@dataclass(frozen=True)
class Engine:
    """What bringing a run forward needs."""

    store: ArtifactStore
    backend: Backend
    remote: Remote
    executors: Executors
    tell: Tell
