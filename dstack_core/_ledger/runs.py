"""Runs and their jobs in the store.

    runs/<run>/run.json            the run
    runs/<run>/jobs/<job>.json     a job, from its first claim on
    runs/<run>/logs/<job>.<n>/     the log of attempt n
    plans/<sha256>                 what was planned; shared by equal runs
    index/active/<repo>/<run>      exists at least as long as the run is not finished; its bytes: when it was written
    index/finished/<repo>/<newest first>-<run>   a copy of the finished run's record
    index/removing/<run>           exists while a run is being removed

The index only makes listing cheap. An active entry is written before the run that it names, and what it says is checked
against the run: an entry of a run that is finished, removed or another repository's is removed by the next look, and
one of a run that does not exist by a look after an hour. A finished entry is written after its run's end, and taken
back by its writer if the run was removed meanwhile. A removal that was cut short is finished by the next listing.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import replace as changed
from itertools import islice
from typing import Final

from dstack_core._ledger import documents
from dstack_core._ledger.documents import Document
from dstack_core._ledger.keys import segment
from dstack_core._ledger.names import candidates
from dstack_core._ledger.records import FINISHED, JobRecord, RunRecord
from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, DstackError, NotFoundError, StoreError

END_OF_TIME: Final = 10**14
"""Milliseconds; times are stored as their distance from it, so that a listing has the newest first."""

UNBORN: Final = 3600.0
"""Seconds after which an index entry whose run was never recorded is nobody's: between the two are milliseconds."""

_REMOVING: Final = "index/removing/"

Damaged = Callable[[DstackError], None]
"""Told of each record that cannot be read, while a listing goes on with the others."""


def ignore(error: DstackError) -> None:
    """A `Damaged` for whoever cannot do anything about it."""


def run_key(run: str) -> str:
    """Key of the run's record."""
    return f"runs/{segment(run)}/run.json"


def job_prefix(run: str) -> str:
    """Prefix of the keys of the run's job records."""
    return f"runs/{segment(run)}/jobs/"


def job_key(run: str, job: str) -> str:
    """Key of a job's record."""
    return f"{job_prefix(run)}{segment(job)}.json"


def logs_prefix(run: str) -> str:
    """Prefix of the keys of all logs of the run."""
    return f"runs/{segment(run)}/logs/"


def log_prefix(run: str, job: str, attempt: int) -> str:
    """Prefix of the segments of an attempt's log, without the last slash."""
    return f"{logs_prefix(run)}{segment(job)}.{attempt}"


def machine_prefix(run: str) -> str:
    """Prefix of the keys of the records of the run's machines."""
    return f"machines/{segment(run)}/"


def write_plan(store: ArtifactStore, plan: bytes) -> str:
    """Store a plan; returns its digest."""
    digest = hashlib.sha256(plan).hexdigest()
    with contextlib.suppress(ConflictError):
        store.write(f"plans/{digest}", plan, ABSENT)
    return digest


def read_plan(store: ArtifactStore, digest: str) -> bytes:
    """Raises StoreError when the bytes are not those that were written."""
    data = store.read(f"plans/{digest}").data
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(f"the plan plans/{digest} is damaged", hint="start the run again")
    return data


def create_run(store: ArtifactStore, draft: RunRecord) -> Document[RunRecord]:
    """Give `draft` a name that no run ever had, and record it."""
    for name in candidates():
        if store.exists(run_key(name)):
            continue
        run = changed(draft, name=name)
        store.write(_active_key(run), b"%d" % time.time())
        try:
            return documents.create(store, run_key(name), run)
        except ConflictError:
            continue
    raise AssertionError("candidates() never ends")


def read_run(store: ArtifactStore, name: str) -> Document[RunRecord]:
    """Raises NotFoundError for a run that does not exist or was removed."""
    try:
        document = documents.read(store, RunRecord, run_key(name))
    except NotFoundError:
        raise NotFoundError(f"there is no run {name}", hint="dstack ps -a lists the runs") from None
    if document.value.deleted:
        raise NotFoundError(f"the run {name} was removed", hint="dstack ps -a lists the runs")
    return document


def ask_to_end(store: ArtifactStore, name: str, desired: str, reason: str | None = None) -> RunRecord:
    """Record that the run is to `stop` or `abort`, and why, if nobody typed it. An abort overrules a stop, never the
    other way round."""

    def change(run: RunRecord) -> RunRecord | None:
        if run.status in FINISHED or run.desired in (desired, "abort"):
            return None
        return changed(run, desired=desired, reason=reason)

    return documents.update(store, RunRecord, run_key(name), change).value


def finish_run(
    store: ArtifactStore, name: str, status: str, exit_code: int | None, now: float, cost: float = 0.0
) -> tuple[RunRecord, bool]:
    """Record the run's last status and its `cost` in USD, once; whether this call did it."""
    mine = False

    def change(run: RunRecord) -> RunRecord | None:
        nonlocal mine
        mine = run.status not in FINISHED
        return changed(run, status=status, exit_code=exit_code, finished=now, cost=cost) if mine else None

    run = documents.update(store, RunRecord, run_key(name), change).value
    file_finished(store, run)
    return run, mine


def raise_cost(store: ArtifactStore, name: str, cost: float) -> None:
    """Record that the machines of a finished run have cost more since. Raises NotFoundError, StoreError."""

    def change(run: RunRecord) -> RunRecord | None:
        return changed(run, cost=cost) if run.status in FINISHED and not run.deleted and run.cost < cost else None

    run = documents.update(store, RunRecord, run_key(name), change).value
    if run.status in FINISHED and not run.deleted:
        documents.update(store, RunRecord, finished_key(run), change)


def file_finished(store: ArtifactStore, run: RunRecord) -> None:
    """Move a finished run's index entry from active to finished. Repeating it changes nothing."""
    with contextlib.suppress(ConflictError):
        documents.create(store, finished_key(run), run)
    if is_removed(store, run.name):  # while this took its time: `remove_run` had nothing to delete yet
        store.delete(finished_key(run))
    store.delete(_active_key(run))


def is_removed(store: ArtifactStore, name: str) -> bool:
    """Whether there was a run of that name, which was removed."""
    try:
        return documents.read(store, RunRecord, run_key(name)).value.deleted
    except NotFoundError:
        return False


def listings(repo: str | None) -> list[str]:
    """Prefixes that are listed to find the active runs and the newest finished ones, of one repository or all."""
    return [_active_prefix(repo), _REMOVING, f"index/finished/{segment(repo)}/" if repo else "index/finished/"]


def remove_run(store: ArtifactStore, name: str) -> None:
    """Forget a finished run: its listing, jobs, logs and machines. Artifacts stay until nothing refers to them."""
    intent = f"{_REMOVING}{segment(name)}"
    store.write(intent, name.encode("utf-8", "replace"))
    try:
        run = documents.update(store, RunRecord, run_key(name), lambda r: changed(r, deleted=True)).value
    except DstackError:  # there is no such run, or its record is damaged: then there is nothing to go on with
        store.delete(intent)
        raise
    store.delete(finished_key(run))
    store.delete(_active_key(run))
    for prefix in (f"runs/{segment(name)}/", machine_prefix(name)):
        for info in list(store.list(prefix)):
            if info.key != run_key(name):
                store.delete(info.key)
    store.delete(intent)


def _finish_removals(store: ArtifactStore, damaged: Damaged) -> None:
    """Whoever was removing a run may have died on the way."""
    for info in list(store.list(_REMOVING)):
        try:
            remove_run(store, store.read(info.key).data.decode("utf-8", "replace"))
        except NotFoundError:  # removed by now, or the bytes name no run
            store.delete(info.key)
        except DstackError as error:
            damaged(error)


def active_runs(
    store: ArtifactStore, repo: str | None = None, damaged: Damaged = ignore
) -> Iterator[Document[RunRecord]]:
    """Runs that are not finished, of one repository or all. Removes the entries that are wrong."""
    for info in list(store.list(_active_prefix(repo))):
        try:
            document = documents.read(store, RunRecord, run_key(info.key.rpartition("/")[2]))
        except NotFoundError:
            with _repairing(damaged):
                _remove_unborn(store, info.key)
            continue
        except DstackError as error:
            damaged(error)
            continue
        # The second: somebody of this repository had the name in mind, and another repository's run got it.
        if document.value.deleted or info.key != _active_key(document.value):
            with _repairing(damaged):
                store.delete(info.key)
        elif document.value.status in FINISHED:
            with _repairing(damaged):
                file_finished(store, document.value)
        else:
            yield document


@contextlib.contextmanager
def _repairing(damaged: Damaged) -> Iterator[None]:
    """Who may not write, or has no room, can still look."""
    try:
        yield
    except StoreError as error:
        damaged(error)


def _remove_unborn(store: ArtifactStore, key: str) -> None:
    """The run's record is about to be written, or its writer died before it could."""
    with contextlib.suppress(NotFoundError, ConflictError):  # somebody else has this name in mind now
        entry = store.read(key)
        written = int(entry.data) if entry.data.isdigit() and len(entry.data) < 20 else 0
        if time.time() - written > UNBORN:
            store.delete(key, entry.version)


def finished_runs(store: ArtifactStore, repo: str | None = None, damaged: Damaged = ignore) -> Iterator[RunRecord]:
    """Finished runs of one repository or all, newest first, read as they are asked for."""
    _finish_removals(store, damaged)
    repos = [segment(repo)] if repo else finished_repos(store)
    entries = [_finished_entries(store, one) for one in repos]
    for _, key in entries[0] if len(entries) == 1 else heapq.merge(*entries):
        try:
            yield documents.read(store, RunRecord, key).value
        except NotFoundError:  # removed while the listing went on
            continue
        except DstackError as error:
            damaged(error)


def _finished_entries(store: ArtifactStore, repo: str) -> Iterator[tuple[str, str]]:
    prefix = f"index/finished/{repo}/"
    return ((info.key[len(prefix) :], info.key) for info in store.list(prefix))


def run_names(store: ArtifactStore, repo: str, most: int) -> Iterator[str]:
    """Names of the repository's active runs and of the last `most` finished ones, by their index alone."""
    for info in store.list(f"index/active/{segment(repo)}/"):
        yield info.key.rpartition("/")[2]
    for entry, _ in islice(_finished_entries(store, segment(repo)), most):
        yield entry.partition("-")[2]


def finished_repos(store: ArtifactStore) -> list[str]:
    """Segments of the repositories that have finished runs."""
    repos: list[str] = []
    after = ""
    prefix = "index/finished/"
    while info := next(iter(store.list(prefix, after)), None):
        repos.append(info.key[len(prefix) :].partition("/")[0])
        after = f"{prefix}{repos[-1]}0"  # "0" sorts right after "/": skip this repository's entries
    return repos


def read_job(store: ArtifactStore, run: str, job: str) -> Document[JobRecord] | None:
    """The job's record, or None when nobody has claimed it yet."""
    try:
        return documents.read(store, JobRecord, job_key(run, job))
    except NotFoundError:
        return None


def write_job(store: ArtifactStore, before: Document[JobRecord] | None, job: JobRecord) -> Document[JobRecord]:
    """Record a job's new state. Raises ConflictError when somebody else did since `before` was read."""
    if before is None:
        return documents.create(store, job_key(job.run, job.job), job)
    return documents.replace(store, before, job)


def _active_prefix(repo: str | None) -> str:
    return f"index/active/{segment(repo)}/" if repo else "index/active/"


def _active_key(run: RunRecord) -> str:
    return f"index/active/{segment(run.repo)}/{segment(run.name)}"


def finished_key(run: RunRecord) -> str:
    """Key of the entry of a finished run in the index."""
    newest_first = END_OF_TIME - int((run.finished or 0) * 1000)
    return f"index/finished/{segment(run.repo)}/{newest_first:014d}-{segment(run.name)}"
