"""Traces of successful jobs: what each was made of, and what it produced.

    traces/<repo>/<workflow>/<base key>/<newest first>-<watched>-<own digest>   one per successful job
    latest/<repo>/<workflow>                                                     a copy of the newest one

`<watched>` in the name is a digest of what the job watched, so that a look-up reads the traces that can match, and
not all those that earlier states of the code left behind. Of what was observed it has two: of the paths, and of their
content. Jobs of one key mostly read the same paths, so one trace tells which paths these are, and then the content
that they have now leads to the trace of an equal state, however old.

`latest` answers "the newest result of this workflow" with one read; it may lag behind when its writer died, and then
costs a job that runs again, never a wrong result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from itertools import islice
from typing import Any, Final

from dstack_core._ledger import documents
from dstack_core._ledger.keys import segment
from dstack_core.artifact_store import ArtifactStore
from dstack_core.codec import dumps
from dstack_core.errors import ConflictError, DstackError, NotFoundError
from dstack_core.models import Artifact

SKEW: Final = 60.0
"""Seconds that clocks of machines may differ before the newer of two times is taken for a wrong clock."""
MOST_OTHERS: Final = 20
"""Traces of another recorded set of paths that one look-up reads; the newest come first."""

_END_OF_TIME: Final = 10**14  # milliseconds


@dataclass(frozen=True)
class Watched:
    """The repository paths that a job depends on, as they were when it ran (or are now, in a plan).

    Attributes:
        kind: `tree`, all of the code; or `paths`, those in `paths` only.
        code: digest of all of the code but the workflow files, for either kind: equal code is always a match.
            Empty when `paths` has a workflow file, which that digest knows nothing of.
        paths: path -> digest. A path that ends in `/` stands for a folder's entry names; the digest `""` stands
            for a path that did not exist.
        observed: `paths` is what the job really read, not what somebody declared. It then counts as complete.
        hindrance: of a `tree`, why the job could not be observed, in words.
    """

    kind: str
    code: str
    paths: Mapping[str, str] = field(default_factory=dict)
    observed: bool = False
    hindrance: str = ""

    @functools.cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that are equal when the watched content is."""
        if self.observed:
            return _short(sorted(self.paths), 16) + _short(sorted(self.paths.items()), 16)
        return _short([False, sorted(self.paths.items())], 32) if self.kind == "paths" else _short(self.code, 32)

    @property
    def name(self) -> str:
        """The same in a trace's name, after a letter for how the paths were found."""
        return f"{'o' if self.observed else self.kind[0]}{self.digest}"


@dataclass(frozen=True)
class Input:
    """The artifacts that a job took from one of its deps. `dep` as the workflow file writes it."""

    dep: str
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True)
class Trace:
    """One successful job.

    Attributes:
        key: base key, see `dstack_core._plan.key`.
        definition: what the key was made of, without the inputs; plain JSON, for telling what changed.
        snapshot: digest of the code snapshot's tree, for telling which files changed.
        finished: seconds since the epoch, by the clock of the machine that ran it.
        duration: seconds.
        ad_hoc: it was made on the command line, not in a workflow file: nobody's "newest result of NAME".
    """

    repo: str
    workflow: str
    key: str
    definition: Mapping[str, Any]
    inputs: tuple[Input, ...]
    watched: Watched
    snapshot: str
    artifacts: tuple[Artifact, ...]
    run: str
    job: str
    user: str
    finished: float
    duration: float = 0.0
    ad_hoc: bool = False


def record(store: ArtifactStore, trace: Trace) -> None:
    """Make a successful job known to later plans. Call it after its artifacts' manifests are stored.

    Calling it twice for one job changes nothing that a look-up sees. Two durable writes and one read.
    """
    # The trace comes first: a crash in between leaves an index that lags, not one that names nothing.
    with contextlib.suppress(ConflictError):
        documents.create(store, _trace_key(trace), trace)
    if not trace.ad_hoc:
        _move_latest(store, trace)


def find(
    store: ArtifactStore, repo: str, workflow: str, key: str, watched: Watched, again: Callable[[Watched], Watched]
) -> Iterator[Trace]:
    """Traces with this base key that may match `watched`: first those that watched the same content, then those
    that watched another set of paths; each newest first. Objects that are no traces are passed over.

    `again`: what was watched, as it is now.
    """
    others: list[str] = []
    observed: dict[str, list[str]] = {}
    for info in store.list(_prefix(repo, workflow) + f"{key}/"):
        name = _watched_name(info.key)
        if name == watched.name:
            yield from _read(store, info.key, key)
        elif name.startswith("o"):
            observed.setdefault(name[:17], []).append(info.key)
        elif name.startswith("p") or watched.kind == "paths":
            others.append(info.key)
    for same_paths in islice(observed.values(), MOST_OTHERS):
        yield from _find_observed(store, key, same_paths, again)
    for other in others[:MOST_OTHERS]:
        yield from _read(store, other, key)


def of_job(store: ArtifactStore, repo: str, workflow: str, key: str, run: str, job: str) -> Trace | None:
    """The trace that this very job left under its base key, or None. Reads those that are newer, too."""
    for info in store.list(_prefix(repo, workflow) + f"{key}/"):
        for trace in _read(store, info.key, key):
            if (trace.run, trace.job) == (run, job):
                return trace
    return None


def latest(store: ArtifactStore, repo: str, workflow: str) -> Trace | None:
    """The newest successful job of a workflow, or None. One read."""
    try:
        document = documents.read(store, Trace, _latest_key(repo, workflow))
    except DstackError:
        return None
    return document.value if document.format <= documents.FORMAT else None


def recorded(store: ArtifactStore, repo: str) -> frozenset[str]:
    """Segments (`keys.segment`) of the workflows of `repo` that `latest` knows. One listing."""
    return frozenset(info.key.rpartition("/")[2] for info in store.list(f"latest/{segment(repo)}/"))


def _find_observed(
    store: ArtifactStore, key: str, same_paths: Sequence[str], again: Callable[[Watched], Watched]
) -> Iterator[Trace]:
    """Of traces that recorded the same paths, those whose content is as it is now; the first tells the paths."""
    wanted: str | None = None
    for at in same_paths:
        if wanted is None:
            for trace in _read(store, at, key):
                wanted = again(trace.watched).name
                yield trace
        elif _watched_name(at) == wanted:
            yield from _read(store, at, key)


def _watched_name(key: str) -> str:
    return key.rpartition("/")[2].partition("-")[2].partition("-")[0]


def _short(value: Any, digits: int) -> str:
    return hashlib.sha256(value.encode() if isinstance(value, str) else dumps(value)).hexdigest()[:digits]


def _prefix(repo: str, workflow: str) -> str:
    return f"traces/{segment(repo)}/{segment(workflow)}/"


def _latest_key(repo: str, workflow: str) -> str:
    return f"latest/{segment(repo)}/{segment(workflow)}"


def _trace_key(trace: Trace) -> str:
    newest_first = min(max(_END_OF_TIME - int(trace.finished * 1000), 0), _END_OF_TIME)
    own = hashlib.sha256(dumps([trace.run, trace.job, trace.finished])).hexdigest()[:16]
    name = f"{newest_first:015d}-{trace.watched.name}-{own}"
    return f"{_prefix(trace.repo, trace.workflow)}{trace.key}/{name}"


def _read(store: ArtifactStore, at: str, key: str) -> Iterator[Trace]:
    with contextlib.suppress(DstackError):
        document = documents.read(store, Trace, at)
        # What a newer dstack wrote may mean something else by the same words; a moved object is not to be believed.
        if document.format <= documents.FORMAT and document.value.key == key:
            yield document.value


def _move_latest(store: ArtifactStore, trace: Trace) -> None:
    """Replace the copy, unless the one there is newer. Every lost round is somebody else's progress."""
    at = _latest_key(trace.repo, trace.workflow)
    while True:
        with contextlib.suppress(ConflictError):
            try:
                found = store.read(at)
            except NotFoundError:
                documents.create(store, at, trace)
                return
            try:
                document = documents.decode(Trace, at, found.data, found.version)
            except DstackError:
                store.delete(at, found.version)  # damaged: nobody can use it
                continue
            if document.format <= documents.FORMAT and not _is_newer(document.value, trace):
                documents.replace(store, changed(document, unknown={}), trace)  # another job's fields say nothing here
            return


def _is_newer(there: Trace, trace: Trace) -> bool:
    # A machine whose clock ran ahead must not hold the place until everybody's clock gets there.
    return trace.finished < there.finished <= time.time() + SKEW
