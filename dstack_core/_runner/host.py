"""What every attempt on a machine shares."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dstack_core._content.entries import Tree
from dstack_core._content.restoring import load_known
from dstack_core._ledger.records import MachineRecord, RunRecord
from dstack_core._plan.job import RunPlan
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError
from dstack_core.executor import Executor
from dstack_core.models import JobEvent, RunEvent

LIFE: Final = "DSTACK_LIFE"
"""Environment of a runner on a machine that is another computer: the file that says when it powers itself off, in
seconds of `/proc/uptime`. See `dstack_core.cloud.boot`."""


class Observers(Protocol):
    """Whoever wants to know. Never raises."""

    def run_started(self, event: RunEvent) -> None:
        """See `dstack_core.hookspecs.dstack_run_started`."""

    def job_changed(self, event: JobEvent) -> None:
        """See `dstack_core.hookspecs.dstack_job_changed`."""

    def run_finished(self, event: RunEvent) -> None:
        """See `dstack_core.hookspecs.dstack_run_finished`."""


@dataclass(frozen=True)
class Host:
    """One machine, at work on one run.

    Attributes:
        executor: an executor by name, the default one for None.
        secret: the value of a secret by name; raises NotFoundError, or JobError when there is no secret store.
        work: folder for the attempts' workspaces.
        umask: of the user; the runner's own keeps everything private.
        desired: what is to become of jobs now: None (go on), `stop`, `abort`, or `interrupt` (the machine is going).
        blame: the error that names the plugin in whose code an exception came up; None for core's own.
    """

    store: ArtifactStore
    run: RunRecord
    plan: RunPlan
    machine: MachineRecord
    executor: Callable[[str | None], Executor]
    secret: Callable[[str], str]
    work: Path
    observers: Observers
    desired: Callable[[], str | None]
    umask: int = 0o022
    blame: Callable[[BaseException], DstackError | None] = lambda _: None

    @functools.cached_property
    def code(self) -> Tree:
        """What the repository was when the run was submitted. Raises StoreError, NotFoundError."""
        return load_known(self.store, self.plan.snapshot)

    @property
    def spare(self) -> Path:
        """See `dstack_core.executor.Task`."""
        return self.work / "spare"
