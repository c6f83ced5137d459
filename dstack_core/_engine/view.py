"""A run as it stands: its record, plan, jobs, and what follows. Read incrementally."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dstack_core._engine.progress import Progress
from dstack_core._ledger import documents
from dstack_core._ledger.documents import DamagedError, Document
from dstack_core._ledger.records import FINISHED, SUCCESS, JobRecord, MachineRecord, RunRecord
from dstack_core._ledger.runs import job_key, job_prefix, read_run, write_job
from dstack_core._plan.job import LATER, REUSE, PlannedJob
from dstack_core._plan.stored import read_run_plan
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError
from dstack_core.models import Artifact

if TYPE_CHECKING:
    from dstack_core._plan.reuse import LoadPaths

JobDocument = Document[JobRecord]


class RunView:
    """Reads a run once, and then only the job records that changed.

    Attributes:
        jobs: records of the jobs that have one. One that is damaged has the status `damaged` here, until no machine
            of the run is alive that could be at work on the job: then the job has failed.
        damaged: jobs whose records are damaged, and what is wrong with them.
        progress: statuses of all jobs, and which may start.
        limited: cells of which not all may run at once, and the workflow that they are of.
        machines: the run's machines, as whoever brought it forward last found them; None: nobody has looked.
        undecided: jobs whose reuse can be looked into only when what they need is done, and was not yet.
    """

    def __init__(self, store: ArtifactStore, name: str) -> None:
        self.store = store
        self.document = read_run(store, name)
        self.plan = read_run_plan(store, self.run)
        self.jobs: dict[str, JobDocument] = {}
        self.damaged: dict[str, DamagedError] = {}
        cells = ((job.name, job.cell) for job in self.plan.jobs)
        self.limited = {name: cell.workflow for name, cell in cells if cell and cell.max_parallel}
        self.undecided = {job.name for job in self.plan.jobs if job.decision == LATER}
        self.machines: Sequence[MachineRecord] | None = None
        self._stamps: dict[str, str] = {}
        reused = {job.name: "reused" for job in self.plan.jobs if job.decision == REUSE}
        self.progress = Progress({job.name: job.deps for job in self.plan.jobs}, reused)
        self._refresh_jobs()

    @functools.cached_property
    def load_paths(self) -> LoadPaths:
        """Looks up paths of stored code snapshots, and remembers a few."""
        from dstack_core._plan.reuse import stored_paths

        return functools.lru_cache(maxsize=8)(stored_paths(self.store))

    @property
    def run(self) -> RunRecord:
        """The run's record as last read."""
        return self.document.value

    @property
    def finished(self) -> bool:
        """Whether the run's last status is recorded."""
        return self.run.status in FINISHED

    def refresh(self, *, jobs: bool = True) -> list[str]:
        """Read what changed; the names of the jobs that did. Without `jobs`, only the run's own record is read."""
        self.document = read_run(self.store, self.run.name)
        return self._refresh_jobs() if jobs else []

    def _refresh_jobs(self) -> list[str]:
        changed = []
        for info in self.store.list(job_prefix(self.run.name)):
            if self._stamps.get(info.key) != info.stamp:
                try:
                    document = documents.read(self.store, JobRecord, info.key)
                    self.note(document)
                    changed.append(document.value.job)
                except DamagedError as damage:
                    changed += self._note_damage(damage)
                self._stamps[info.key] = info.stamp
        if self.damaged and not self.finished:
            self.end_damaged(self.abandoned())
        return changed

    def _note_damage(self, damage: DamagedError) -> list[str]:
        name = next((job.name for job in self.plan.jobs if job_key(self.run.name, job.name) == damage.key), None)
        if name is None:
            return []
        known = self.jobs.get(name)
        if known and known.value.status in FINISHED:  # which it stays for ever: put it back
            with contextlib.suppress(ConflictError):
                self.note(write_job(self.store, damage.standing_in(known.value), known.value))
            return []
        self.note(damage.standing_in(JobRecord(self.run.name, name, "damaged", reason="its record is damaged")))
        self.damaged[name] = damage
        return [name]

    def abandoned(self, machine: str | None = None) -> list[str]:
        """Jobs whose records are damaged, if nobody can be at work on them; `machine` is known not to be."""
        from dstack_core._ledger.machines import machines

        if any(m.value.status != "gone" and m.value.id != machine for m in machines(self.store, self.run.name)):
            return []
        return list(self.damaged)

    def end_damaged(self, names: list[str]) -> None:
        """Nobody knows what became of the jobs whose records are damaged. Once nobody works on them, they failed."""
        for name in names:
            failed = JobRecord(self.run.name, name, "failed", reason="its record was damaged")
            with contextlib.suppress(ConflictError):  # it has changed: the next refresh tells
                self.note(write_job(self.store, self.jobs[name], failed))

    def note(self, document: JobDocument) -> None:
        """A job has a new record. One of a job that is not in the plan means nothing."""
        if document.value.job not in self.progress.status:
            return
        self.jobs[document.value.job] = document
        self.damaged.pop(document.value.job, None)
        self.progress.set(document.value.job, document.value.status)

    def artifacts(self, job: str) -> tuple[Artifact, ...]:
        """What a job of the run left behind, so far."""
        document = self.jobs.get(job)
        if document:
            return document.value.artifacts
        planned = self.plan.job(job)
        return planned.reused.artifacts if planned.reused and planned.decision == REUSE else ()

    def done(self, job: PlannedJob) -> dict[str, tuple[Artifact, ...]]:
        """Artifacts of the jobs that `job` needs, by name, as `PlannedJob.inputs` takes them."""
        return {dep: self.artifacts(dep) for dep in job.deps}

    def status(self) -> str:
        """The run's status for people: the recorded one, or what its jobs make of it."""
        if self.finished:
            return self.run.status
        if self.run.desired:
            return "aborting" if self.run.desired == "abort" else "stopping"
        current = set(self.progress.status.values())
        for status in ("running", "uploading", "downloading", "interrupted"):
            if status in current:
                return status
        return "running" if current & SUCCESS and self.jobs else "submitted"

    def exit_code(self) -> int:
        """Of the finished run: 0, or the code of the first job in the plan that failed (1 if it has none)."""
        for job in self.plan.jobs:
            if self.progress.status[job.name] == "failed":
                document = self.jobs.get(job.name)
                return (document.value.exit_code if document else None) or 1
        return 0
