"""Whether a finished job's artifacts can be taken over instead of running a job.

The plan asks this for every job whose inputs are known; the runner asks it again for a job that had to wait for
others, when they are done. If those gave the same artifacts as before, the job need not run: early cutoff.

A finished job is the same job when its base key is equal (`key`), what it watched in the repository is unchanged
(`watch.same_code`), and its artifacts are still stored. Who ran it, when and where does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dstack_core._content.damage import KnownDamage
from dstack_core._ledger import traces
from dstack_core._ledger.keys import segment
from dstack_core._ledger.traces import Input, Trace, Watched
from dstack_core._plan import reason
from dstack_core._plan.job import PlannedJob, Reused, RunPlan
from dstack_core._plan.key import as_run, base_key, definition
from dstack_core._plan.learned import files_of
from dstack_core._plan.watch import Code, same_code, tree_paths
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError
from dstack_core.models import Artifact

Paths = Mapping[str, str]
"""What `watch.tree_paths` gives for a code snapshot."""
LoadPaths = Callable[[str], "Paths | None"]
"""Digest of a snapshot's tree -> its paths; None when it is no longer stored."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Verdict:
    """What to do with a job: take over `reused`, or run it, and why in words. `key` is its base key, and `job` the
    job, with what was assumed of its image."""

    key: str
    reason: str
    reused: Reused | None = None
    job: PlannedJob | None = None


class Lookup:
    """What a store knows, remembered while decisions are made about one snapshot. Short-lived: stores change."""

    def __init__(
        self, store: ArtifactStore, snapshot: str, load_paths: LoadPaths, *, user: str = "", remote: str | None = None
    ) -> None:
        """`user`: whose own results need no name in a reason. `remote`: whose store it is, if not the run's own."""
        self.user = user
        self.remote = remote
        self.store = store
        self.snapshot = snapshot
        self._load_paths = load_paths
        self._codes: dict[str, Code | None] = {}
        self._stored: dict[str, bool] = {}
        self._damaged = KnownDamage(store)
        self._recorded: dict[str, frozenset[str]] = {}

    def list_recorded(self, repo: str) -> None:
        """List once which workflows have results, so that those without cost no request each."""
        self._recorded[repo] = traces.recorded(self.store, repo)

    def latest(self, repo: str, workflow: str) -> Trace | None:
        """The newest result of a workflow, or None."""
        if not self.may_have(repo, workflow):
            return None
        return traces.latest(self.store, repo, workflow)

    def may_have(self, repo: str, workflow: str) -> bool:
        """False when there is certainly no result of the workflow."""
        return repo not in self._recorded or segment(workflow) in self._recorded[repo]

    def code(self, snapshot: str) -> Code | None:
        """The paths of this or an older snapshot, if it is still stored."""
        if snapshot not in self._codes:
            paths = self._load_paths(snapshot)
            self._codes[snapshot] = None if paths is None else Code(paths)
        return self._codes[snapshot]

    def again(self, then: Watched) -> Watched:
        """What was watched, as it is now; as it was then when the present snapshot is not stored."""
        code = self.code(self.snapshot)
        return code.again(then) if code else then

    def has(self, artifacts: Sequence[Artifact]) -> bool:
        """Whether the trees of all these artifacts are stored, and not known to be damaged."""
        return all(self._has_tree(artifact.tree) for artifact in artifacts)

    def _has_tree(self, tree: str) -> bool:
        if tree not in self._stored:
            there = bool(_DIGEST.fullmatch(tree)) and self.store.exists(f"trees/{tree[:2]}/{tree}")
            self._stored[tree] = there and tree not in self._damaged
        return self._stored[tree]


def decide(
    store: ArtifactStore, plan: RunPlan, job: PlannedJob, inputs: Sequence[Input], load_paths: LoadPaths
) -> Verdict:
    """Decide about a job of `plan` whose inputs are known (`job.inputs(done)`). A few reads, no writes.

    `load_paths` is asked only when a trace recorded other paths than the job declares, and to say what changed.
    """
    return verdict(Lookup(store, plan.snapshot, load_paths), job, plan.watched[job.watched], inputs)


def stored_paths(store: ArtifactStore) -> LoadPaths:
    """Looks snapshots up in the store."""

    def load(snapshot: str) -> Paths | None:
        from dstack_core._content.tree import load_tree

        try:
            return tree_paths(load_tree(store, snapshot))
        except DstackError:
            return None

    return load


def verdict(lookup: Lookup, job: PlannedJob, watched: Watched, inputs: Sequence[Input]) -> Verdict:
    """`decide`, with what earlier decisions of the same plan found out."""
    if always := runs_always(job):
        return Verdict(base_key(definition(job), inputs), always)
    latest = None if job.ad_hoc else lookup.latest(job.repo, job.workflow)
    assumed = _same_image(job, latest)
    job = as_run(job, assumed)
    defined = definition(job)
    key = base_key(defined, inputs)
    gone = False
    for trace in _candidates(lookup, job, key, watched, latest):
        if not _is_same(lookup, trace.watched, watched):
            continue
        if lookup.has(trace.artifacts):
            why = _why_reused(lookup, trace) + (f"; {UNSEEN}" if assumed else "")
            return Verdict(key, why, reused(trace, lookup.remote), job)
        gone = True
    now = reason.Now(defined, inputs, watched, lookup.snapshot)
    return Verdict(key, reason.why_run(latest, now, lookup.code, gone=gone))


UNSEEN: Final = "its image cannot be looked up from here, and is taken as unchanged"


def _same_image(job: PlannedJob, latest: Trace | None) -> str | None:
    """The digest that the job's image had the last time, if it cannot be known what it is now: there is no engine here,
    no way to the registry, or only the runner has the password. Else such a job would never be reused."""
    spec = job.spec
    if spec.image is None or spec.image_digest is not None or latest is None:
        return None
    digest = latest.definition.get("image_digest")
    return str(digest) if digest and latest.definition.get("image") == spec.image else None


def runs_always(job: PlannedJob) -> str | None:
    """Why the job runs whatever is stored, or None."""
    if job.forced:
        return "forced"
    if not job.spec.reusable:
        return "always runs"
    # Upstream, a job without artifacts is like a test that passed: its success is its result. For the job that the
    # user asked for, running it is all that there can be to want.
    if (job.target or job.ad_hoc) and not job.spec.artifacts:
        return "has no artifacts to reuse"
    return None


def reused(trace: Trace, remote: str | None = None) -> Reused:
    """A trace as the source of a job's artifacts."""
    read = len(files_of(trace.watched)) if trace.watched.observed else None
    return Reused(trace.run, trace.job, trace.user, trace.finished, trace.duration, trace.artifacts, read, remote)


def _is_same(lookup: Lookup, then: Watched, now: Watched) -> bool:
    """`same_code`, which seldom needs all of the code."""
    return same_code(then, now, None) or (then.kind == "paths" and same_code(then, now, lookup.code(lookup.snapshot)))


def _why_reused(lookup: Lookup, trace: Trace) -> str:
    whose = f" of {trace.user}" if lookup.user not in ("", trace.user) else ""
    same = f"same as {trace.run}{whose}{f' on {lookup.remote}' if lookup.remote else ''}"
    if trace.watched.observed:
        code = lookup.code(lookup.snapshot)
        of = f" of {len(code.paths):,} files" if code else " files"
        return f"{same}: nothing that it read has changed ({len(files_of(trace.watched)):,}{of})"
    return f"{same} ({reason.whole(trace.watched)})" if trace.watched.hindrance else same


def _candidates(lookup: Lookup, job: PlannedJob, key: str, watched: Watched, latest: Trace | None) -> Iterator[Trace]:
    if latest is not None and latest.key == key:
        yield latest  # the usual case: nothing changed since, and one read told it
    if job.ad_hoc or lookup.may_have(job.repo, job.workflow):
        yield from traces.find(lookup.store, job.repo, job.workflow, key, watched, lookup.again)
