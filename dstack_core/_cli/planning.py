"""From what the command line names to the plan of a run."""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from dstack_core._cli.context import Context
from dstack_core._cli.images import Images, is_special, only_here
from dstack_core._cli.lookup import Warnings, find_tag, warn_of
from dstack_core._cli.target import EVERYTHING, Target
from dstack_core._content.snapshot import Snapshot, scan_snapshot
from dstack_core._engine.remote import DEFAULT
from dstack_core._ledger.tags import read_tag
from dstack_core._plan.build import Request, Surroundings, make_plan
from dstack_core._plan.fit import fit
from dstack_core._plan.job import REUSE, PlannedJob, RunPlan
from dstack_core._plan.reuse import stored_paths
from dstack_core._plan.watch import tree_paths
from dstack_core._workflow.template import references
from dstack_core.artifact_store import ArtifactStore
from dstack_core.backend import Offers
from dstack_core.errors import DstackError, InputError, NotFoundError, PluginError
from dstack_core.models import Artifact, Dep, JobSpec, Requirements, Workflow

PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The Python that a job gets when it names none: the one that runs dstack."""


@dataclass(frozen=True)
class Planned:
    """A plan, the code that it is for, and the machines that it would take.

    Attributes:
        unknown: jobs that would run here, and whose images cannot be known now: why not.
    """

    plan: RunPlan
    snapshot: Snapshot
    offers: Mapping[Requirements, Offers]
    unknown: Mapping[str, DstackError]


def plan_for(context: Context, target: Target) -> Planned:
    """Plan a run. Spends nothing, stores nothing.

    Raises:
        InputError, NotFoundError, PluginError, CapacityError: whatever stands in the way of running it.
    """
    snapshot = scan_snapshot(context.project)
    force = target.options.get("force") or ()
    request = Request(
        target=target.name,
        repo=snapshot.repo,
        force=frozenset(force) - {EVERYTHING},
        force_all=EVERYTHING in force,
        latest=target.options.get("reuse") == "latest",
        ad_hoc=target.raw is None,
        user=context.user,
    )

    definitions = _Definitions(context, target, snapshot.repo)
    plan = make_plan(
        request,
        Surroundings(
            store=context.store,
            snapshot=snapshot.digest,
            paths=tree_paths(snapshot.tree),
            names=target.workflows.names(),
            define=definitions.define,
            tags=partial(_tagged, context),
            load_paths=stored_paths(context.store),
            cells=definitions.cells,
            place=definitions.place,
            others=partial(_others, context),
            problem=Warnings(),
        ),
    )
    context.remember()
    plan = replace(plan, warnings=(*plan.warnings, *_unused_arguments(plan), *_open_passwords(plan)))
    running = [job for job in plan.jobs if job.decision != REUSE]
    folders = {entry.path for entry in snapshot.tree if entry.kind == "dir"}
    for job in running:
        _check(context, job, folders)
    offers = fit(plan, context.backend.offers) if running else {}
    if running and context.backend.distant:
        plan = replace(plan, warnings=(*plan.warnings, *only_here(context.executors, running)))
    # Machines that are other computers may have, or can get, what cannot be had here.
    asked = () if context.backend.distant else running
    unknown = {job.name: definitions.unknown[job.name] for job in asked if job.name in definitions.unknown}
    return Planned(plan, snapshot, offers, unknown)


def _tagged(context: Context, repo: str, name: str) -> tuple[tuple[Artifact, ...], str | None]:
    """What a tag names, and the remote that has it; None: the one on which the run is to be. Raises NotFoundError."""
    with contextlib.suppress(NotFoundError):
        return read_tag(context.store, repo, name).artifacts, None
    there, tag = find_tag(context, repo, name)
    return tag.artifacts, None if there.store.location == context.store.location else there.remote.name


def _others(context: Context) -> Iterator[tuple[str, ArtifactStore]]:
    """This machine and the user's default remote, unless the run is to be there: results are looked for in both."""
    names = [DEFAULT.name]
    if not context.offline:
        with contextlib.suppress(DstackError):
            names.append(context.at("").remote.name)
    for name in names:
        try:
            store = context.at(name).store
        except DstackError as error:
            warn_of(error)
        else:
            if store.location != context.store.location:
                yield name, store


def _unused_arguments(plan: RunPlan) -> list[str]:
    job = plan.targets[0]
    if not job.spec.args or any("args" in text for text in job.spec.texts) or set(job.spec.args) & set(job.spec.argv):
        return []
    return [f"`{job.name}` has no ${{{{ run.args }}}}: the arguments {' '.join(job.spec.args)} reach nobody"]


def _open_passwords(plan: RunPlan) -> list[str]:
    auths = {job.name: job.spec.registry_auth for job in plan.jobs}
    return [
        f"`{name}`: the password of its `registry_auth` is in the workflow file; put it into a secret"
        for name, auth in auths.items()
        if auth and "${{" not in auth.password
    ]


def _check(context: Context, job: PlannedJob, folders: Collection[str]) -> None:
    """Whether the remote has what the job asks for, before anything is spent."""
    spec = job.spec
    if posixpath.normpath(spec.working_dir or ".") not in (".", *folders):
        message = f"`{job.name}`: its working_dir {spec.working_dir} is not in the repository"
        raise InputError(message, where=job.where, hint="git ignores it, or it has no files?")
    _check_secrets(context, job)
    if context.backend.distant and spec.executor != context.remote.container_executor:
        message = (
            f"`{job.name}` wants the executor {spec.executor}, and on machines elsewhere every job runs in a container"
        )
        raise InputError(message, where=job.where, hint="leave `executor:` out, or run it here")
    if not is_special(spec) and spec.python == PYTHON:
        return
    reason = context.executors.get(spec.executor).refuses(spec)
    if reason:
        raise InputError(f"`{job.name}` cannot run here: {reason}", where=job.where)


def _check_secrets(context: Context, job: PlannedJob) -> None:
    """Whether the secrets that the job uses exist, and stand where nobody else sees them."""
    if not any("secrets" in text for text in job.spec.texts):
        return
    from dstack_core._engine.secrets import no_secret, open_secrets

    if _secrets_in(job.spec.argv):
        message = f"`{job.name}` has a secret in its command line, which every process of the machine can read"
        raise InputError(message, where=job.where, hint="pass it in `env`")
    wanted = _secrets_in(job.spec.texts)
    known = open_secrets(context.plugins, context.remote).list(job.repo) if wanted else ()
    for name in wanted:
        if name not in known:
            error = no_secret(name, known)
            raise NotFoundError(
                f"`{job.name}` uses a secret that is not there: {name}", hint=error.hint, where=job.where
            )


def _secrets_in(texts: Sequence[str]) -> list[str]:
    names = [reference.name for text in texts if "secrets" in text for reference in references(text)]
    return [name.removeprefix("secrets.") for name in dict.fromkeys(names) if name.startswith("secrets.")]


class _Definitions:
    """Workflows and their job specs, by name; the target's with the command line's overrides."""

    def __init__(self, context: Context, target: Target, repo: str) -> None:
        self._context = context
        self._target = target
        self._repo = repo
        self._targets = frozenset(self.cells(target.name))
        self._images = Images(context.executors)
        self._provided = functools.cache(self._provide)

    @property
    def unknown(self) -> Mapping[str, DstackError]:
        """Jobs whose images cannot be known now, and why."""
        return self._images.unknown

    def cells(self, name: str) -> Sequence[str]:
        """See `Surroundings.cells`. Raises InputError for a matrix that is wrong."""
        if name == self._target.name and self._target.raw is None:
            return (name,)
        try:
            return self._target.workflows.jobs(name)
        except NotFoundError:
            return (name,)

    def define(self, name: str) -> tuple[Workflow, JobSpec]:
        """Raises InputError for a workflow that is wrong."""
        workflow, spec = self._provided(name)
        try:
            spec = self._images.fill(name, spec, contained=self._takes_absolute(workflow))
        except PluginError as error:
            error.where = error.where or workflow.where
            raise
        if spec.python is None and spec.image is None:
            # Said, so that it is part of what makes a job the same: another Python may give another result.
            spec = replace(spec, python=PYTHON)
        return workflow, spec

    def _takes_absolute(self, workflow: Workflow) -> bool:
        """Whether something that it depends on has an artifact at an absolute path."""
        deps = [dep for dep in workflow.deps if dep.kind == "workflow" and dep.repo in (None, self._repo)]
        for cell in (cell for dep in deps for cell in self.cells(dep.name)):
            with contextlib.suppress(NotFoundError):  # of what does not exist, the plan says so better
                if any(artifact.path.startswith("/") for artifact in self._provided(cell)[1].artifacts):
                    return True
        return False

    def _provide(self, name: str) -> tuple[Workflow, JobSpec]:
        """A workflow and what its provider makes of it."""
        from dstack_core._workflow.resolve import ad_hoc, resolve

        target = self._target
        if name == target.name and target.raw is None:
            own = self._context.properties(target.provider_name)
            workflow = ad_hoc(name, own, target.overrides, target.args, os.environ)
        else:
            raw = target.workflows.get(name)
            mine = name in self._targets
            own = self._context.properties(raw.provider, raw)
            workflow = resolve(raw, own, target.overrides if mine else {}, target.args if mine else (), os.environ)
        if workflow.remote and not target.options.get("local") and self._context.remote.name == DEFAULT.name:
            raise InputError(
                f"`{workflow.name}` asks for a remote machine, and this run is of this one",
                where=workflow.where,
                hint=f"dstack run -r {target.name} runs all of it on the remote; --local all of it here",
            )
        return workflow, own.job_spec(workflow)

    def place(self, workflow: Workflow, dep: Dep) -> str | None:
        """Where a dep is written: in the workflow file, or on the command line."""
        from dstack_core._workflow.fields import deps

        if workflow.where is None or (workflow.name in self._targets and self._target.overrides.get("dep")):
            return "--dep"
        raw = self._target.workflows.get(workflow.name)
        written = raw.data["deps"]
        items = written if isinstance(written, list) else [written]
        index = (i for i, item in enumerate(items) if deps([item]) == (dep,))
        return raw.locate(("deps", next(index, 0)))
