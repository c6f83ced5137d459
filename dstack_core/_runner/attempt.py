"""One attempt at a job: claim, prepare, execute, save. Runs in a thread of its own."""

from __future__ import annotations

import contextlib
import posixpath
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dstack_core._content.entries import Tree
from dstack_core._content.logwriting import LogWriter
from dstack_core._content.restoring import load_known
from dstack_core._engine.access import forget_token
from dstack_core._engine.capacity import Share
from dstack_core._engine.executors import label, short
from dstack_core._engine.outcome import WISHES, Ending, after
from dstack_core._ledger import traces
from dstack_core._ledger.documents import Document
from dstack_core._ledger.records import JobRecord
from dstack_core._ledger.runs import log_prefix, read_run
from dstack_core._plan.job import PlannedJob
from dstack_core._plan.key import as_run, overlay
from dstack_core._plan.trace import trace_of
from dstack_core._runner.execute import Watch, watch
from dstack_core._runner.host import Host
from dstack_core._runner.observing import Observation
from dstack_core._runner.output import Output
from dstack_core._runner.saving import Saver
from dstack_core._runner.state import JobState
from dstack_core._runner.task import Values, fill_task
from dstack_core._runner.transfer import Transfer
from dstack_core._runner.workspace import Workspace
from dstack_core.errors import ConflictError, DstackError, StoreError
from dstack_core.executor import Execution, LostError
from dstack_core.models import Artifact

if TYPE_CHECKING:
    from dstack_core._content.edits import Edits

SETTLED = 0.05
"""Seconds a job must run before `running` is recorded: a job shorter than that costs no extra writes."""

LOG_PATIENCE = 60.0
"""Seconds for which the end of a log is tried to be stored while the store fails."""


class JobAttempt:
    """Runs one job once. `done` maps finished jobs of the run to their artifacts."""

    def __init__(
        self,
        host: Host,
        job: PlannedJob,
        before: Document[JobRecord] | None,
        share: Share,
        done: Mapping[str, tuple[Artifact, ...]],
    ) -> None:
        self._host = host
        self._job = job
        self._share = share
        self._inputs = job.inputs(done)
        self._state = JobState(host, job.name, before)
        self._phases: dict[str, float] = {}
        self._image_digest: str | None = None
        self._workspace: Workspace | None = None
        self._execution: Execution | None = None
        self._marks = contextlib.ExitStack()
        self._observation = Observation(job.spec, host.plan.watched[job.watched])

    def run(self) -> Document[JobRecord]:
        """Everything, from claim to last record.

        Raises:
            ConflictError: somebody else has the job, from the start or since this runner was taken for dead.
        """
        self._state.claim()
        number = self._state.attempt.number
        workspace = self._workspace = Workspace(self._host.work / short(self._job.name, number), self._job.spec)
        saver = Saver(self._host.store, workspace, self._job.spec.artifacts, self._mounted(), self._edits(workspace))
        log: LogWriter | None = None
        try:
            values = Values(self._host, self._job, number)
            log = LogWriter(self._host.store, log_prefix(self._host.run.name, self._job.name, number), values.masked)
            ending = self._save(self._execute(workspace, values, log, saver), saver)
        except ConflictError:
            raise
        except _EndedEarly as early:
            ending = early.ending
        except (Exception, SystemExit) as error:  # one job fails, not the runner with all its jobs
            ending = Ending("failed", None, self._in_words(error))
        if ending.status != "done":
            self._make_room()
        if log:
            ending = self._close(log, ending)
        return self._finish(ending, saver, (*saver.warnings, *self._observation.warnings))

    def remember(self) -> None:
        """Leave the trace of a success, for reuse, and nothing else. After `run`, however that ended."""
        try:
            with self._marks:  # a record refers to what was saved, or never will
                self._trace()
        finally:
            if self._execution:
                self._execution.close()

    def leave(self) -> None:
        """What nobody waits for: the end of the workspace."""
        forget_token(label(self._host.machine.id, self._job.name, self._state.attempt.number))
        if self._workspace:
            self._workspace.remove()

    def _trace(self) -> None:
        record = self._state.record
        if record.status == "done":
            last = record.attempts[-1]
            finished = last.finished or time.time()
            # What the result was made with, also when the plan did not know.
            job = as_run(self._job, last.image_digest)
            traces.record(
                self._host.store,
                trace_of(
                    self._host.plan,
                    job,
                    self._inputs,
                    record.artifacts,
                    run=record.run,
                    user=self._host.run.user,
                    finished=finished,
                    duration=finished - last.started,
                    watched=self._observation.watched,
                ),
            )

    def _execute(self, workspace: Workspace, values: Values, log: LogWriter, saver: Saver) -> Ending:
        with self._phase("prepare"):
            inputs = self._restored()
            transfer = Transfer(self._downloading, sum(artifact.size for artifact in inputs))
            workspace.make(self._host.store, self._code(), inputs, transfer)
        output = Output(log.write)
        try:
            self._heed("stop", "abort", "interrupt")
            self._heed_now()
            with self._phase("environment"):
                progress = Transfer(self._downloading).next()
                task = fill_task(self._job, workspace, values, self._share, output, self._host.spare, progress)
                executor = self._host.executor(self._job.spec.executor)
                self._observation.begin(workspace, self._host.code, overlay(self._inputs), executor)
                execution = self._execution = executor.start(task)
                self._image_digest = execution.image_digest
            output.started()
            with self._phase("run"):
                ending = watch(execution, output, self._watch(values, saver))
            self._observation.end()
            return ending
        except LostError as lost:
            return Ending("interrupted", reason=str(lost))
        finally:
            output.close()

    def _downloading(self, done: int, total: int) -> None:
        self._heed("stop", "abort", "interrupt")
        if total:
            self._state.show("downloading", transfer=(done, total))

    def _uploading(self, done: int, total: int) -> None:
        self._heed("abort")  # whoever only stops the job wants what it made
        self._state.show("uploading", transfer=(done, total))

    def _heed_now(self) -> None:
        """The last moment before the commands start: what the runner last read may be a moment old."""
        desired = None
        with contextlib.suppress(StoreError):  # it fails for a moment: no reason for the job to fail
            desired = read_run(self._host.store, self._host.run.name).value.desired
        if desired:
            raise _EndedEarly(WISHES[desired])

    def _heed(self, *wishes: str) -> None:
        """Break off what is under way when that is desired."""
        desired = self._host.desired()
        if desired in wishes:
            raise _EndedEarly(WISHES[desired])

    def _watch(self, values: Values, saver: Saver) -> Watch:
        def stopping(status: str) -> None:
            self._state.show("aborting" if status == "aborted" else "stopping")

        def look(passed: float) -> None:
            if passed >= SETTLED and self._state.record.status == "downloading":
                self._state.show("running", ports=values.ports)
            if saver.is_due(passed):
                self._save_mounted(saver, passed)

        return Watch(self._host.desired, stopping, look, self._job.spec.max_duration)

    def _save(self, ending: Ending, saver: Saver) -> Ending:
        """Declared artifacts, whatever the ending was, except an abort: that one is in a hurry."""
        if ending.status == "aborted" or not (self._job.spec.artifacts or self._job.spec.edits):
            return ending
        if self._state.record.status != "downloading":
            self._state.show("uploading")
        try:
            with self._phase("save"):
                self._marks.enter_context(self._saving())  # until the record of the job's end names what is saved
                saver.save(required=ending.status == "done", transfer=Transfer(self._uploading))
        except (ConflictError, _EndedEarly):
            raise
        except (Exception, SystemExit) as error:
            why = str(error) if isinstance(error, (DstackError, OSError)) else self._in_words(error)
            if ending.status == "done":
                return Ending("failed", ending.exit_code, f"its artifacts could not be saved: {why}")
            saver.warn(f"not everything could be saved: {why}")
        return ending

    def _save_mounted(self, saver: Saver, passed: float) -> None:
        try:
            with self._saving():
                if saver.save_mounted(passed):
                    self._state.show("running", artifacts=saver.artifacts, edits=saver.edits)
        except StoreError as error:
            saver.warn(f"not saved while it ran: {error}")

    def _saving(self) -> contextlib.AbstractContextManager[None]:
        from dstack_core._ledger.marks import saving  # not for jobs without artifacts

        host, run = self._host, self._host.run.name
        what = f"{self._job.name} of {run}"
        return saving(host.store, what, run=run, machine=host.machine.id, wait=lambda: self._heed("abort"))

    def _make_room(self) -> None:
        """What the job wrote may be what fills the disk, and its log and its end have to be stored yet."""
        with contextlib.suppress(OSError):
            if self._workspace:
                self._workspace.remove()

    def _close(self, log: LogWriter, ending: Ending) -> Ending:
        try:
            log.close(ending.exit_code, LOG_PATIENCE)
        except DstackError as error:
            if ending.status == "done":
                return Ending("failed", ending.exit_code, f"its log could not be saved: {error}")
        return ending

    def _finish(self, ending: Ending, saver: Saver, warnings: tuple[str, ...]) -> Document[JobRecord]:
        now = time.time()
        attempt = replace(
            self._state.attempt,
            status=ending.status,
            finished=now,
            exit_code=ending.exit_code,
            reason=ending.reason,
            phases=self._phases,
            image_digest=self._image_digest,
        )
        following = after(ending, (*self._state.record.attempts[:-1], attempt), self._job.spec.retry)
        self._state.end(
            following.status,
            attempt,
            artifacts=saver.artifacts,
            edits=saver.edits,
            warnings=warnings,
            reason=following.reason,
            not_before=following.not_before,
        )
        return self._state.document

    def _restored(self) -> Sequence[Artifact]:
        """Inputs, and on a new attempt what an interrupted one had saved of its mounted artifacts."""
        return [*overlay(self._inputs), *self._mounted()]

    def _code(self) -> Tree:
        """What the checkout is to hold: the run's code, on a new attempt with what people changed in it before."""
        edits = self._state.record.edits
        return load_known(self._host.store, edits) if edits else self._host.code

    def _edits(self, workspace: Workspace) -> Edits | None:
        if not self._job.spec.edits:
            return None
        from dstack_core._content.edits import Edits  # few jobs have any

        declared = [spec.path for spec in self._job.spec.artifacts]
        places = [workspace.inside(path) for path in (*declared, *(given.path for given in overlay(self._inputs)))]
        apart = tuple(f"{place}/" for place in places if place)  # not all of the code, if it is an artifact
        return Edits(
            self._host.store,
            workspace.root,
            self._host.code,
            lambda path: f"{path}/".startswith(apart),
            self._state.record.edits,
        )

    def _mounted(self) -> Sequence[Artifact]:
        """What earlier attempts saved of the mounted artifacts."""
        # A path that is outside of the checkout matches nothing; `Workspace.make` says what is wrong with it.
        mounted = {posixpath.normpath(spec.path) for spec in self._job.spec.artifacts if spec.mount}
        return [artifact for artifact in self._state.record.artifacts if artifact.path in mounted]

    def _in_words(self, error: BaseException) -> str:
        if isinstance(error, DstackError):
            return f"{error}. {error.hint}" if error.hint else str(error)
        if isinstance(error, OSError):
            return f"cannot prepare the job: {error}"
        traceback.print_exception(error)
        if theirs := self._host.blame(error):
            return str(theirs)
        return f"dstack failed, which is a mistake of ours: {type(error).__name__}; see the machine's log"

    def _phase(self, name: str) -> _Phase:
        return _Phase(self._phases, name)


class _EndedEarly(Exception):
    """The attempt is to end before its commands have started, or while its artifacts are saved."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.status)
        self.ending = ending


class _Phase:
    """Notes how long its block took."""

    def __init__(self, phases: dict[str, float], name: str) -> None:
        self._phases = phases
        self._name = name

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._phases[self._name] = round(time.monotonic() - self._started, 4)
