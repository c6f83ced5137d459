"""Traces of successful jobs: what each was made of, and what it produced.

    traces/<repo>/<workflow>/<base key>/<newest first>-<t|p><watched>-<own digest>   one per successful job
    latest/<repo>/<workflow>                                                          a copy of the newest one

`<watched>` in the name is a digest of what the job watched, so that a look-up reads the traces that can match, and
not all those that earlier states of the code left behind. `latest` answers "the newest result of this workflow"
with one read; it may lag behind when its writer died, and then costs a job that runs again, never a wrong result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
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
    """

    kind: str
    code: str
    paths: Mapping[str, str] = field(default_factory=dict)
    observed: bool = False

    @functools.cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that are equal when the watched content is."""
        text = dumps([self.observed, sorted(self.paths.items())]) if self.kind == "paths" else self.code.encode()
        return hashlib.sha256(text).hexdigest()[:32]


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


def find(store: ArtifactStore, repo: str, workflow: str, key: str, watched: Watched) -> Iterator[Trace]:
    """Traces with this base key that may match `watched`: first those that watched the same content, then those
    that watched another set of paths; each newest first. Objects that are no traces are passed over."""
    wanted = f"{watched.kind[0]}{watched.digest}"
    others: list[str] = []
    for info in store.list(_prefix(repo, workflow) + f"{key}/"):
        _, _, rest = info.key.rpartition("/")[2].partition("-")
        if rest.startswith(wanted):
            yield from _read(store, info.key, key)
        elif rest.startswith("p") or watched.kind == "paths":
            others.append(info.key)
    for other in others[:MOST_OTHERS]:
        yield from _read(store, other, key)


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


def _prefix(repo: str, workflow: str) -> str:
    return f"traces/{segment(repo)}/{segment(workflow)}/"


def _latest_key(repo: str, workflow: str) -> str:
    return f"latest/{segment(repo)}/{segment(workflow)}"


def _trace_key(trace: Trace) -> str:
    newest_first = min(max(_END_OF_TIME - int(trace.finished * 1000), 0), _END_OF_TIME)
    own = hashlib.sha256(dumps([trace.run, trace.job, trace.finished])).hexdigest()[:16]
    name = f"{newest_first:015d}-{trace.watched.kind[0]}{trace.watched.digest}-{own}"
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
