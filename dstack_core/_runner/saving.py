"""A job's artifacts: saved at its end, the mounted ones also while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from dstack_core._runner.transfer import Transfer
from dstack_core._runner.workspace import Workspace, artifact_path
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, JobError
from dstack_core.models import Artifact, ArtifactSpec

INTERVAL: Final = 5.0
"""Seconds between two saves of mounted artifacts, at least."""
SHARE: Final = 10
"""Saving takes at most one part in so many of the job's time."""


class Saver:
    """Saves a job's artifacts and remembers what is saved. `before`: what earlier attempts saved, until it is again."""

    def __init__(
        self,
        store: ArtifactStore,
        workspace: Workspace,
        specs: Sequence[ArtifactSpec],
        before: Sequence[Artifact] = (),
    ) -> None:
        self._store = store
        self._workspace = workspace
        self._specs = specs
        self._saved = {artifact.path: artifact for artifact in before}
        self._next = INTERVAL
        self.warnings: tuple[str, ...] = ()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What is saved."""
        return tuple(self._saved.values())

    def save(self, *, required: bool, transfer: Transfer) -> None:
        """Save every declared artifact.

        Raises:
            JobError: one is not there, and `required`.
            StoreError: one cannot be saved; the others are.
        """
        failure: DstackError | None = None
        for spec in self._specs:
            try:
                self._save(spec, required, transfer)
            except DstackError as error:
                failure = failure or error
        if failure:
            raise failure

    def is_due(self, passed: float) -> bool:
        """Whether it is time to save mounted artifacts, `passed` seconds after the start."""
        return passed >= self._next and any(spec.mount for spec in self._specs)

    def save_mounted(self, passed: float) -> bool:
        """Save mounted artifacts; whether any of them changed."""
        mounted = [spec for spec in self._specs if spec.mount]
        before = self.artifacts
        started = time.monotonic()
        for spec in mounted:
            try:
                self._save(spec, required=False)
            except DstackError as error:
                self.warn(f"not saved while it ran: {error}")
        took = time.monotonic() - started
        self._next = passed + took + max(INTERVAL, SHARE * took)
        return self.artifacts != before

    def _save(self, spec: ArtifactSpec, required: bool, transfer: Transfer | None = None) -> None:
        path = artifact_path(spec.path)
        root = self._workspace.place(path)
        if not os.path.lexists(root):
            if required:
                raise JobError(f"the job did not make its artifact {spec.path}")
            return
        from dstack_core._content.saving import save_tree  # not for jobs without artifacts

        # While the job runs, a file may change under the eyes of the saver: the next save, or the last, has it whole.
        # What is saved only once leaves no stat cache behind.
        progress = transfer.next() if transfer else None
        saved = save_tree(self._store, root, progress=progress, cache=spec.mount, tolerant=transfer is None)
        for warning in saved.warnings:
            self.warn(f"{spec.path}: {warning}")
        self._saved[path] = Artifact(path, saved.digest, saved.files, saved.size)

    def warn(self, text: str) -> None:
        """Something to be told with the job, once."""
        if text not in self.warnings:
            self.warnings = (*self.warnings, text)
