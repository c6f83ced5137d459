"""A project with a store of its own, records as runs leave them, and `dstack` called as `main` calls it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from dstack_local.store import FolderStore

from dstack_core._cli.context import Context
from dstack_core._cli.main import run as call
from dstack_core._ledger import documents
from dstack_core._ledger.keys import segment
from dstack_core._ledger.machines import intend
from dstack_core._ledger.records import Attempt, JobRecord, RunRecord
from dstack_core._ledger.runs import file_finished, run_key, write_job, write_plan
from dstack_core._plan.job import PlannedJob, RunPlan
from dstack_core._plugins import inspection
from dstack_core._plugins.catalog import Finding
from dstack_core._plugins.listing import Listed
from dstack_core.artifact_store import ArtifactStore
from dstack_core.codec import dumps
from dstack_core.models import JobSpec, Offer

REPO = "ann/digits"
USER = "ann"


@dataclass(frozen=True)
class Result:
    code: int
    raw: bytes
    raw_err: bytes

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def err(self) -> str:
        return self.raw_err.decode()

    @property
    def json(self) -> object:
        return json.loads(self.raw)


def planned(name: str, *deps: str, **fields: object) -> PlannedJob:
    from dstack_core._plan.job import Source

    sources = tuple(Source(dep, job=dep) for dep in deps)
    return PlannedJob(name, name, REPO, "bash", JobSpec(("true",)), "", sources, **fields)


class Scene:
    def __init__(self, store: ArtifactStore) -> None:
        self.store = store

    def run(
        self, name: str, *jobs: PlannedJob, repo: str = REPO, submitted: float | None = None, **fields: object
    ) -> RunRecord:
        """An active run, with a machine that may still come up: looking at it launches none."""
        jobs = jobs or (planned("train"),)
        plan = RunPlan(repo, jobs[-1].name, "0" * 64, jobs)
        record = RunRecord(
            name=name,
            repo=repo,
            user=fields.pop("user", USER),
            workflow=fields.pop("workflow", jobs[-1].name),
            plan=write_plan(self.store, dumps(plan)),
            submitted=submitted or time.time(),
            remote="local",
            **fields,
        )
        self.store.write(f"index/active/{segment(repo)}/{segment(name)}", b"")
        documents.create(self.store, run_key(name), record)
        if not fields.get("finished"):
            intend(self.store, name, Offer("local", "local", 64, 1 << 40), 0, time.time())
        return record

    def finished(self, name: str, *jobs: PlannedJob, status: str = "done", **fields: object) -> RunRecord:
        fields.setdefault("submitted", time.time())
        record = self.run(name, *jobs, status=status, finished=fields["submitted"] + 5, **fields)
        file_finished(self.store, record)
        return record

    def job(self, run: str, job: str, status: str, *attempts: Attempt, **fields: object) -> JobRecord:
        return write_job(self.store, None, JobRecord(run, job, status, attempts, **fields)).value


class Counting(ArtifactStore):
    """Another store, and how often each of its methods was called."""

    def __init__(self, inner: ArtifactStore) -> None:
        self.inner = inner
        self.reads = 0
        self.lists = 0
        self.listed = 0

    @property
    def location(self):
        return self.inner.location

    def read(self, key, start=0, length=None):
        self.reads += 1
        return self.inner.read(key, start, length)

    def write(self, key, data, expect="*any*"):
        return self.inner.write(key, data, expect)

    def list(self, prefix, after=""):
        self.lists += 1
        for info in self.inner.list(prefix, after):
            self.listed += 1
            yield info

    def delete(self, key, expect="*any*"):
        self.inner.delete(key, expect)


_LOOKED_INTO: dict[Listed, Finding] = {}


@pytest.fixture(autouse=True)
def _look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed from a folder may have changed whenever it is asked for, but does not during these tests; to
    look into all of them takes five seconds of a processor."""
    look = inspection._inspect_all

    def look_once(plugins: Iterable[Listed]) -> dict[Listed, Finding]:
        wanted = list(plugins)
        _LOOKED_INTO.update(look([plugin for plugin in wanted if plugin not in _LOOKED_INTO]))
        return {plugin: _LOOKED_INTO[plugin] for plugin in wanted}

    monkeypatch.setattr(inspection, "_inspect_all", look_once)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".dstack").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DSTACK_USER", USER)
    monkeypatch.delenv("DSTACK_DEBUG", raising=False)
    monkeypatch.setattr(Context, "repo", REPO)
    return folder


@pytest.fixture
def store(project: Path) -> FolderStore:
    return FolderStore({})


@pytest.fixture
def scene(store: FolderStore) -> Scene:
    return Scene(store)


@pytest.fixture
def dstack(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Result]:
    def dstack(*arguments: str) -> Result:
        capfdbinary.readouterr()
        code = call(list(arguments))
        return Result(code, *capfdbinary.readouterr())

    return dstack


def rows(result: Result) -> Sequence[dict]:
    return result.json
