"""A repository in memory and a folder store on disk, for planning against."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.traces import Watched, record
from dstack_core._plan.build import Request, Surroundings, make_plan
from dstack_core._plan.job import REUSE, RunPlan
from dstack_core._plan.reuse import decide
from dstack_core._plan.trace import trace_of
from dstack_core._plan.watch import Code
from dstack_core.errors import DstackError, NotFoundError
from dstack_core.models import Artifact, ArtifactSpec, Dep, JobSpec, Workflow


def digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def workflow(name: str, *deps: str, **properties: object) -> Workflow:
    artifacts = properties.pop("artifacts", (f"{name}-out",))
    return Workflow(
        name,
        "bash",
        deps=tuple(_dep(dep) for dep in deps),
        artifacts=tuple(ArtifactSpec(path) for path in artifacts),
        properties={"commands": [f"make {name}"]},
        where=f".dstack/workflows.yaml:{len(name)}",
        **properties,
    )


def _dep(text: str) -> Dep:
    kind = "tag" if text.startswith(":") else "workflow"
    repo, _, name = text.removeprefix(":").rpartition("/")
    return Dep(kind, name, repo or None)


class Scene:
    """`result` says what a job produces from what counts; by default everything that it sees."""

    def __init__(self, root: Path, *workflows: Workflow, paths: Mapping[str, str] | None = None) -> None:
        self.store = FolderStore({"path": str(root / "store")})
        self.workflows = {w.name: w for w in workflows}
        self.paths = dict(paths if paths is not None else {"train.py": "f 1", "README.md": "f 1"})
        self.snapshots: dict[str, dict[str, str]] = {}
        self.tags: dict[tuple[str, str], tuple[Artifact, ...]] = {}
        self.images: dict[str, str] = {}  # those that can be looked up
        self.changes: dict[str, object] = {}
        self.learned: dict[str, Callable[[Code], Watched]] = {}
        self.runs = 0
        self.ran: list[str] = []
        self.asked: list[str] = []
        self.others: list[tuple[str, FolderStore]] = []  # those of other remotes
        self.missing: DstackError = NotFoundError("no such workflow")

    def change(self, name: str, **changes: object) -> None:
        self.workflows[name] = replace(self.workflows[name], **changes)

    def cells(self, name: str) -> list[str]:
        return [w.name for w in self.workflows.values() if w.cell and w.cell.workflow == name] or [name]

    def define(self, name: str) -> tuple[Workflow, JobSpec]:
        self.asked.append(name)
        if name not in self.workflows:
            raise self.missing
        w = self.workflows[name]
        spec = JobSpec(
            ("bash",),
            "\n".join(w.properties["commands"]),
            env=w.env,
            args=w.args,
            python=w.python,
            image=w.image,
            image_digest=self.images.get(w.image or ""),
            artifacts=w.artifacts,
            reusable=not w.properties.get("ide", False),
        )
        return w, spec

    def tag(self, repo: str, name: str) -> tuple[tuple[Artifact, ...], None]:
        try:
            return self.tags[repo, name], None
        except KeyError:
            raise NotFoundError(f"there is no tag {name}") from None

    def plan(self, target: str, **request: object) -> RunPlan:
        snapshot = digest("snapshot", self.paths)
        self.snapshots[snapshot] = dict(self.paths)
        self.asked.clear()
        names = {*self.workflows, *(w.cell.workflow for w in self.workflows.values() if w.cell)}
        around = Surroundings(
            self.store, snapshot, self.paths, names, self.define, self.tag, self.snapshots.get, self.cells,
            others=lambda: self.others,
        )  # fmt: skip
        return make_plan(Request(target, "me/repo", **request), around)

    def artifacts(self, name: str, *what: object) -> tuple[Artifact, ...]:
        made = []
        for spec in self.workflows[name].artifacts:
            tree = digest(spec.path, *what)
            self.store.write(f"trees/{tree[:2]}/{tree}", b"tree")
            made.append(Artifact(spec.path, tree))
        return tuple(made)

    def run(self, target: str, **request: object) -> tuple[str, ...]:
        """Do what the plan says, as a runner would; names of the jobs that ran."""
        plan = self.plan(target, **request)
        self.runs += 1
        self.ran = []
        done: dict[str, tuple[Artifact, ...]] = {}
        for job in plan.jobs:
            inputs = job.inputs(done) if job.decision != REUSE else ()
            found = job.reused
            if job.decision == "later":
                found = decide(self.store, plan, job, inputs, self.snapshots.get).reused
            if found:
                done[job.name] = found.artifacts
                continue
            self.ran.append(job.name)
            done[job.name] = self.artifacts(job.name, self.changes.get(job.name, self.runs))
            trace = trace_of(
                plan, job, inputs, done[job.name], run=f"run-{self.runs}", user="me",
                finished=time.time() + self.runs / 100, duration=1.5,
                watched=self.learned[job.name](Code(self.paths)) if job.name in self.learned else None,
            )  # fmt: skip
            record(self.store, trace)
        return tuple(self.ran)

    def decisions(self, target: str, **request: object) -> dict[str, tuple[str, str]]:
        return {job.name: (job.decision, job.reason) for job in self.plan(target, **request).jobs}


class MakeScene(Protocol):
    def __call__(self, *workflows: Workflow, paths: Mapping[str, str] | None = None) -> Scene: ...


@pytest.fixture(scope="session")
def make_scene(tmp_path_factory: pytest.TempPathFactory) -> MakeScene:
    def make(*workflows: Workflow, paths: Mapping[str, str] | None = None) -> Scene:
        return Scene(tmp_path_factory.mktemp("scene"), *workflows, paths=paths)

    return make


@pytest.fixture(scope="session")
def wf() -> Callable[..., Workflow]:
    return workflow
