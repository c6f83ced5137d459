"""A job's artifacts: saved at its end, the mounted ones, and what people edit, also while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from dstack_core._runner.transfer import Transfer
from dstack_core._runner.workspace import Workspace, artifact_path
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, JobError
from dstack_core.models import Artifact, ArtifactSpec

if TYPE_CHECKING:
    from dstack_core._content.edits import Edits

INTERVAL: Final = 5.0
"""Seconds between two saves while the job runs, at least."""
SHARE: Final = 10
"""Saving takes at most one part in so many of the job's time."""


class Saver:
    """Saves what a job leaves behind and remembers what is saved.

    Args:
        before: what earlier attempts saved, until it is again.
        edits: of the code, if people edit it.
    """

    def __init__(
        self,
        store: ArtifactStore,
        workspace: Workspace,
        specs: Sequence[ArtifactSpec],
        before: Sequence[Artifact] = (),
        edits: Edits | None = None,
    ) -> None:
        self._store = store
        self._workspace = workspace
        self._specs = specs
        self._saved = {artifact.path: artifact for artifact in before}
        self._edits = edits
        self._next = INTERVAL
        self.warnings: tuple[str, ...] = ()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What is saved."""
        return tuple(self._saved.values())

    @property
    def edits(self) -> str | None:
        """See `JobRecord.edits`."""
        return self._edits.digest if self._edits else None

    def save(self, *, required: bool, transfer: Transfer) -> None:
        """Save every declared artifact, and edits.

        Raises:
            JobError: one is not there, and `required`.
            StoreError: one cannot be saved; the others are.
        """
        failure: DstackError | None = None
        try:
            self._save_edits()
        except DstackError as error:
            failure = error
        for spec in self._specs:
            try:
                self._save(spec, required, transfer)
            except DstackError as error:
                failure = failure or error
        if failure:
            raise failure

    def is_due(self, passed: float) -> bool:
        """Whether it is time to save what is saved all the while, `passed` seconds after the start."""
        return passed >= self._next and (self._edits is not None or any(spec.mount for spec in self._specs))

    def save_mounted(self, passed: float) -> bool:
        """Save mounted artifacts and edits; whether any of them changed."""
        mounted = [spec for spec in self._specs if spec.mount]
        before = self.artifacts, self.edits
        started = time.monotonic()
        saves: list[Callable[[], None]] = [
            self._save_edits,
            *(partial(self._save, spec, required=False) for spec in mounted),
        ]
        for save in saves:
            try:
                save()
            except DstackError as error:
                self.warn(f"not saved while it ran: {error}")
        took = time.monotonic() - started
        self._next = passed + took + max(INTERVAL, SHARE * took)
        return (self.artifacts, self.edits) != before

    def _save_edits(self) -> None:
        if self._edits:
            self._edits.save()

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
