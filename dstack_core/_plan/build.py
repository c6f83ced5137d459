"""The plan of a run, put together. For the command line: the runner needs `job` and `reuse` only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dstack_core._ledger.traces import Trace, Watched
from dstack_core._plan import reason
from dstack_core._plan.apart import check_apart
from dstack_core._plan.elsewhere import Elsewhere
from dstack_core._plan.graph import close_matches, ordered
from dstack_core._plan.job import LATER, REUSE, RUN, PlannedJob, Reused, RunPlan, Source
from dstack_core._plan.key import definition
from dstack_core._plan.reuse import LoadPaths, Lookup, Paths, reused, runs_always, stored_paths, verdict
from dstack_core._plan.watch import Code
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, InputError, NotFoundError
from dstack_core.models import Artifact, Dep, JobSpec, Workflow

FEW: Final = 16
"""A plan of more jobs than that lists once which workflows have results, and asks no more about the others."""
MOST_EDGES: Final = 1_000_000
"""Deps of all jobs of a run: a matrix of 1,000 cells that each need all of 1,000 others."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        force: names of workflows to run whatever could be reused; `force_all`: every job of the run.
        latest: `--reuse latest`: the target's deps are the newest successful results of those workflows, unchecked.
        ad_hoc: the target was made on the command line, from a provider.
        user: who asks.
    """

    target: str
    repo: str
    force: frozenset[str] = frozenset()
    force_all: bool = False
    latest: bool = False
    ad_hoc: bool = False
    user: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What planning looks at.

    Attributes:
        snapshot: digest of the code snapshot's tree; `paths`: what `watch.tree_paths` gives for it.
        names: names of the workflows that exist.
        define: name of a job -> its workflow, with overrides, and its job spec. Asked once for each that is needed.
        tags: (repo, tag) -> artifacts, and the remote that has them if it is another one. Raises NotFoundError.
        load_paths: the same as `paths` of older snapshots, for saying what changed; see `reuse.stored_paths`.
        cells: name of a workflow with a matrix, or of one of its cells -> names of the jobs that are meant. Any other
            name -> that name, whether there is such a workflow or not.
        place: where a dep of a workflow is written, `file:line:column`.
        others: names of other remotes and their stores, in which results are looked for, too.
        problem: told of each of them that cannot be asked.
    """

    store: ArtifactStore
    snapshot: str
    paths: Paths
    names: Collection[str]
    define: Callable[[str], tuple[Workflow, JobSpec]]
    tags: Callable[[str, str], tuple[tuple[Artifact, ...], str | None]]
    load_paths: LoadPaths
    cells: Callable[[str], Sequence[str]] = lambda name: (name,)
    place: Callable[[Workflow, Dep], str | None] = lambda workflow, _: workflow.where
    others: Callable[[], Iterable[tuple[str, ArtifactStore]]] = tuple
    problem: Callable[[DstackError], None] = lambda _: None


def make_plan(request: Request, around: Surroundings) -> RunPlan:
    """Plan a run. Reads the store, writes nothing.

    Raises:
        InputError: deps form a cycle; a workflow that is needed is wrong; cells of a matrix save to one path, and
            something depends on them.
        NotFoundError: a dep, a tag, another repository's result or a `--force` name does not exist.
    """
    return _Planning(request, around).plan()


class _Planning:
    def __init__(self, request: Request, around: Surroundings) -> None:
        self.request = request
        self.around = around
        self.names = frozenset(around.names)  # what the caller has may be a list
        self.targets = frozenset(around.cells(request.target))
        self.forced = frozenset(job for name in request.force for job in around.cells(name))
        self.code = Code(around.paths)
        self.lookup = self._lookup(around.store)
        self.elsewhere = Elsewhere(self._others, around.problem)
        self.defined: dict[str, tuple[Workflow, JobSpec]] = {}
        self.sources: dict[Dep, Sequence[Source]] = {}  # of a dep of this repository
        self.taken: dict[str, Reused] = {}  # by --reuse latest: workflow -> its newest result
        self.jobs: dict[str, PlannedJob] = {}
        self.watched: dict[str, Watched] = {}
        self.warnings: dict[str, None] = {}
        self.edges = 0

    def plan(self) -> RunPlan:
        request = self.request
        names = ordered(self.around.cells(request.target), self._needs, lambda name: self.defined[name][0].where)
        self._check_forced(names)
        if len(names) > FEW:
            self.lookup.list_recorded(request.repo)
            self.elsewhere = Elsewhere(self._others, self.around.problem, recorded=request.repo)
        for name in names:
            self.jobs[name] = self._decided(self._job(name))
        return RunPlan(
            repo=request.repo,
            target=request.target,
            snapshot=self.around.snapshot,
            jobs=tuple(self.jobs.values()),
            watched=self.watched,
            warnings=tuple(self.warnings),
        )

    def _lookup(self, store: ArtifactStore, remote: str | None = None) -> Lookup:
        around = self.around
        load = around.load_paths if remote is None else stored_paths(store)

        def load_paths(snapshot: str) -> Paths | None:
            return around.paths if snapshot == around.snapshot else load(snapshot)

        return Lookup(store, around.snapshot, load_paths, user=self.request.user, remote=remote)

    def _others(self) -> Iterator[Lookup]:
        return (self._lookup(store, name) for name, store in self.around.others())

    def _needs(self, name: str) -> Sequence[str]:
        """Names of the workflows of this repository whose jobs must be done before that of `name`."""
        self.defined[name] = self.around.define(name)
        if self._take_latest(name):
            return ()
        workflow = self.defined[name][0]
        needs: list[str] = []
        for dep in filter(self._is_local, workflow.deps):
            if dep.name not in self.names:
                self._explain_missing(dep, workflow)
            needs += self.around.cells(dep.name)
        self.edges += len(needs)
        if self.edges > MOST_EDGES:
            raise InputError(
                f"more than {MOST_EDGES:,} deps: each cell of {name.partition('[')[0]} needs {len(needs):,} jobs",
                hint="let a cell need one other cell: `deps: ['data[KEY=${{ matrix.KEY }}]']`",
                where=workflow.where,
            )
        return needs

    def _explain_missing(self, dep: Dep, workflow: Workflow) -> None:
        try:
            self.around.define(dep.name)  # a broken workflow file may hide it; then that is the error to show
        except NotFoundError:
            raise NotFoundError(
                f"{workflow.name} depends on {dep.name}, which does not exist",
                hint=close_matches(dep.name, self.names) or "deps are names of workflows, or :TAG",
                where=self.around.place(workflow, dep),
            ) from None

    def _take_latest(self, name: str) -> bool:
        request = self.request
        if not request.latest or name in self.targets or request.force_all or name in self.forced:
            return False
        found = self._latest(request.repo, name)
        if found:
            self.taken[name] = reused(*found)
        return found is not None

    def _latest(self, repo: str, workflow: str) -> tuple[Trace, str | None] | None:
        """The newest result of a workflow that is whole, and the remote that has it, if it is not the run's own."""
        found = self.lookup.latest(repo, workflow)
        if found and self.lookup.has(found.artifacts):
            return found, None
        return self.elsewhere.latest(repo, workflow)

    def _is_local(self, dep: Dep) -> bool:
        return dep.kind == "workflow" and dep.repo in (None, self.request.repo)

    def _check_forced(self, names: Sequence[str]) -> None:
        for name in sorted(self.forced.difference(names)):
            hint = close_matches(name, names) or f"its jobs are {', '.join(names[-5:])}"
            raise NotFoundError(f"cannot force {name}: this run has no such job", hint=hint)

    def _job(self, name: str) -> PlannedJob:
        workflow, spec = self.defined[name]
        request = self.request
        target = name in self.targets
        return PlannedJob(
            name=name,
            workflow=workflow.name,
            repo=request.repo,
            provider=workflow.provider,
            spec=spec,
            watched=self._watch(workflow),
            sources=() if name in self.taken else self._sources(workflow),
            target=target,
            ad_hoc=target and request.ad_hoc,
            forced=request.force_all or name in self.forced,
            where=workflow.where,
            cell=workflow.cell,
        )

    def _watch(self, workflow: Workflow) -> str:
        watched, unmatched = self.code.watched(workflow.inputs)
        place = f"{workflow.where}: " if workflow.where else ""
        for glob in unmatched:
            self.warnings[f"{place}the input {glob} of {workflow.name} matches no file of the repository"] = None
        self.watched[watched.digest] = watched
        return watched.digest

    def _sources(self, workflow: Workflow) -> tuple[Source, ...]:
        # A dep that is written twice counts at its last place, where it wins over those before it.
        deps = list(dict.fromkeys(reversed(workflow.deps)))[::-1]
        return tuple(source for dep in deps for source in self._sources_of(dep, workflow))

    def _sources_of(self, dep: Dep, workflow: Workflow) -> Sequence[Source]:
        if not self._is_local(dep):
            return (self._source(dep, workflow),)
        if dep not in self.sources:
            cells = self.around.cells(dep.name)
            saved = {cell: [a.path for a in self.defined[cell][0].artifacts] for cell in cells}
            check_apart(saved, f"in {workflow.name}", where=self.defined[cells[0]][0].where)
            self.sources[dep] = [Source(cell if len(cells) > 1 else str(dep), cell) for cell in cells]
        return self.sources[dep]

    def _source(self, dep: Dep, workflow: Workflow) -> Source:
        repo = dep.repo or self.request.repo
        if dep.kind == "tag":
            try:
                return Source(str(dep), None, *self.around.tags(repo, dep.name))
            except NotFoundError as error:
                where = error.where or self.around.place(workflow, dep)
                raise NotFoundError(error.message, hint=error.hint, where=where) from None
        if found := self._latest(repo, dep.name):
            return Source(str(dep), None, found[0].artifacts, found[1])
        lost = self.lookup.latest(repo, dep.name)
        problem = "has lost the artifacts of its newest run" if lost else "has no finished run"
        raise NotFoundError(
            f"{workflow.name} depends on {dep}, which {problem} in this store",
            hint=f"run {dep.name} in {repo} first",
            where=self.around.place(workflow, dep),
        )

    def _decided(self, job: PlannedJob) -> PlannedJob:
        if job.name in self.taken:
            latest = self.taken[job.name]
            where = f" on {latest.remote}" if latest.remote else ""
            return replace(job, decision=REUSE, reason=f"newest result, {latest.run}{where}", reused=latest)
        pending = [dep for dep in job.deps if self.jobs[dep].decision != REUSE]
        if pending:
            decision, why = self._pending(job, pending)
            return replace(job, decision=decision, reason=why)
        watched, inputs = self.watched[job.watched], job.inputs(self._artifacts(job))
        found = verdict(self.lookup, job, watched, inputs)
        if found.reused is None and not runs_always(job):
            found = self.elsewhere.verdict(job, watched, inputs) or found
        if found.reused:
            return replace(found.job or job, decision=REUSE, reason=found.reason, reused=found.reused)
        return replace(job, decision=RUN, reason=found.reason)

    def _pending(self, job: PlannedJob, pending: Sequence[str]) -> tuple[str, str]:
        """Decision and reason for a job some of whose inputs are not known yet."""
        if always := runs_always(job):
            return RUN, always
        latest = None if job.ad_hoc else self.lookup.latest(job.repo, job.workflow)
        if latest is None:
            return RUN, "never run"
        now = reason.Now(definition(job), None, self.watched[job.watched], self.around.snapshot)
        changes = "; ".join(reason.differences(latest, now, self.lookup.code))
        return LATER, changes or f"decided when {reason.listed(pending)} {'is' if len(pending) == 1 else 'are'} done"

    def _artifacts(self, job: PlannedJob) -> Mapping[str, tuple[Artifact, ...]]:
        found = {dep: self.jobs[dep].reused for dep in job.deps}
        return {dep: known.artifacts for dep, known in found.items() if known is not None}
