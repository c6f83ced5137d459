"""Results on their way between stores: artifacts, the traces by which later plans find them, whole runs, tags.

What a record names is sent before the record, so whoever sees a run, a trace or a tag can use it. Whoever sends holds
a mark (`marks.saving`) on the store that receives. A transfer that was cut short is begun again and goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

from dstack_core._content.sending import Sent, send_tree
from dstack_core._content.work import Progress
from dstack_core._engine.view import RunView
from dstack_core._ledger import documents, traces
from dstack_core._ledger.marks import saving
from dstack_core._ledger.records import SUCCESS, RunRecord, TagRecord
from dstack_core._ledger.runs import file_finished, job_prefix, logs_prefix, read_plan, run_key, write_plan
from dstack_core._ledger.tags import read_tag, write_tag
from dstack_core._ledger.traces import Trace
from dstack_core._plan.job import RunPlan
from dstack_core._plan.key import as_run
from dstack_core._plan.trace import find_trace
from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, InputError, NotFoundError
from dstack_core.models import Artifact


def send_artifacts(
    source: ArtifactStore, target: ArtifactStore, artifacts: Iterable[Artifact], progress: Progress | None = None
) -> Sent:
    """Send the trees of artifacts, each once.

    Raises:
        NotFoundError: one is not in `source`.
        StoreError: one is damaged, or a store failed.
    """
    trees = {artifact.tree: artifact.size for artifact in artifacts}
    return _send(source, target, trees, progress)


def send_results(
    source: ArtifactStore, target: ArtifactStore, plan: RunPlan, names: Iterable[str], progress: Progress | None = None
) -> Sent:
    """Send what these jobs of a plan take over, artifacts and traces, so that `target` has it as if it were its own.
    Raises as `send_artifacts`."""
    jobs = [job for job in map(plan.job, names) if job.reused]
    sent = send_artifacts(source, target, (a for job in jobs if job.reused for a in job.reused.artifacts), progress)
    done = {job.name: job.reused.artifacts for job in plan.jobs if job.reused}
    for job in jobs:
        if job.reused and (trace := find_trace(source, job, done, job.reused.run, job.reused.job)):
            traces.record(target, trace)
    return sent


def send_run(source: ArtifactStore, target: ArtifactStore, name: str, progress: Progress | None = None) -> Sent:
    """Send a finished run: its code, artifacts, logs and records. Its tag goes along if `target` has none of the name.

    Raises:
        NotFoundError: there is no such run, or it has lost something.
        InputError: it is not finished.
        ConflictError: `target` has another run of that name.
        StoreError: something is damaged, or a store failed.
    """
    view = RunView(source, name)
    if not view.finished:
        raise InputError(f"{name} is not finished", hint=f"wait for it with: dstack logs -a {name}")
    expect = _free_name(target, view.run)
    with saving(target, f"the run {name}"):
        trees = {view.plan.snapshot: 0}
        # What was taken over from elsewhere, and that no job of the run needed, need not be here.
        for job in {*view.jobs, *view.plan.needed}:
            trees.update((artifact.tree, artifact.size) for artifact in view.artifacts(job))
        sent = _send(source, target, trees, progress)
        write_plan(target, read_plan(source, view.run.plan))
        _copy(source, target, job_prefix(name))
        _copy(source, target, logs_prefix(name))
        for trace in _traces(source, view):
            traces.record(target, trace)
        _copy_one(source, target, run_key(name), expect)
        file_finished(target, view.run)
        if view.run.tag is not None:
            with contextlib.suppress(NotFoundError, ConflictError):
                _write_tag(target, read_tag(source, view.run.repo, view.run.tag), move=False)
    return sent


def send_tag(
    source: ArtifactStore, target: ArtifactStore, tag: TagRecord, *, move: bool, progress: Progress | None = None
) -> Sent:
    """Send a tag and what it names. `move`: also if `target` has it for something else.

    Raises:
        ConflictError: it has, and not `move`.
        NotFoundError, StoreError: as `send_artifacts`.
    """
    with saving(target, f"the tag {tag.name}"):
        if not move:
            _refuse_other(target, tag)
        sent = send_artifacts(source, target, tag.artifacts, progress)
        _write_tag(target, tag, move=move)
    return sent


def _refuse_other(target: ArtifactStore, tag: TagRecord) -> None:
    """Before anything is sent. Raises ConflictError."""
    try:
        there = read_tag(target, tag.repo, tag.name)
    except NotFoundError:
        return
    if there.artifacts != tag.artifacts:
        message = f"the tag {tag.name} is there, for {there.run or 'other folders'} of {there.user}"
        raise ConflictError(message, hint="--force moves it")


def _write_tag(target: ArtifactStore, tag: TagRecord, *, move: bool) -> None:
    try:
        write_tag(target, tag, move=move)
    except ConflictError:
        _refuse_other(target, tag)  # the very same is as good


def _send(source: ArtifactStore, target: ArtifactStore, trees: Mapping[str, int], progress: Progress | None) -> Sent:
    total, sent = sum(trees.values()), Sent(0, 0, 0)
    for tree, size in trees.items():
        one = send_tree(source, target, tree, _part_of(progress, sent.size, total) if size else None)
        sent = Sent(*map(sum, zip(sent, one, strict=True)))
    return sent


def _part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    def part(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, total)

    return part


def _free_name(target: ArtifactStore, run: RunRecord) -> str:
    """What to expect where the run's record goes: nothing, or the record of this run, which was removed.

    Raises:
        ConflictError: another run has the name.
    """
    try:
        document = documents.read(target, RunRecord, run_key(run.name))
    except NotFoundError:
        return ABSENT
    there = document.value
    if (there.plan, there.submitted, there.user) != (run.plan, run.submitted, run.user):
        message = f"{target.location} has another run {run.name}, of {there.user}"
        raise ConflictError(message, hint=f"send its result by a tag: dstack tags add TAG {run.name}")
    return document.version if there.deleted else ABSENT


def _copy(source: ArtifactStore, target: ArtifactStore, prefix: str) -> None:
    for info in source.list(prefix):
        _copy_one(source, target, info.key)


def _copy_one(source: ArtifactStore, target: ArtifactStore, key: str, expect: str = ABSENT) -> None:
    """Bytes as they are: a newer dstack's fields stay."""
    with contextlib.suppress(ConflictError):  # of a finished run nothing changes any more
        target.write(key, source.read(key).data, expect)


def _traces(source: ArtifactStore, view: RunView) -> Iterator[Trace]:
    status = view.progress.status
    done = {job.name: view.artifacts(job.name) for job in view.plan.jobs if status[job.name] in SUCCESS}
    for job in view.plan.jobs:
        if job.name in done:
            document = view.jobs.get(job.name)
            by_run, by_job = view.run.name, job.name
            if document and document.value.reused_from:
                by_run, _, by_job = document.value.reused_from.partition("/")
            elif document is None and job.reused:
                by_run, by_job = job.reused.run, job.reused.job
            attempts = document.value.attempts if document else ()
            ran = as_run(job, attempts[-1].image_digest if attempts else None)
            if trace := find_trace(source, ran, done, by_run, by_job):
                yield trace
