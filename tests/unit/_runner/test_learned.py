"""What was learned of a job is enough: whenever it would be reused, running it again gives the same.

Small random programs work as real processes on a small random checkout. Then the code is edited, again and again, as
long as the plan would still reuse the job: everything that may change without a new run has changed then. Running the
program there must give the same output. DSTACK_LEARNED_EXAMPLES sets how many programs are tried.

No program looks for a name in a folder that it does not use otherwise, and finds none: that leaves no trace, and
docs/explanation/reuse.md says so.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from dstack_core._content.entries import Tree, tree_key
from dstack_core._content.manifest import encode_tree, load_tree
from dstack_core._plan.watch import Code, same_code, tree_paths
from dstack_core._runner.observing import Observation
from dstack_core._runner.transfer import Transfer
from dstack_core._runner.workspace import Workspace
from dstack_core.artifact_store import ANY, ArtifactStore, Object
from dstack_core.executor import Executor
from dstack_core.models import Artifact, ArtifactSpec, JobSpec

from .programs import Files, Node, checkout, edits, entries_of, program, set_node, tree_of

EXAMPLES = int(os.environ.get("DSTACK_LEARNED_EXAMPLES", "120"))


class Memory(ArtifactStore):
    """Durable writes would take longer than all else here."""

    location = "memory"

    def __init__(self):
        self.objects = {}

    def read(self, key, start=0, length=None):
        return Object(self.objects[key], "")

    def write(self, key, data, expect=ANY):
        self.objects[key] = bytes(data)
        return ""

    def list(self, prefix, after=""):
        raise AssertionError("nobody lists here")

    def delete(self, key, expect=ANY):
        raise AssertionError("nothing is deleted here")


class InPlace(Executor):
    in_place = True

    def start(self, task):
        raise AssertionError("the test starts the program itself")

    def sweep(self, label):
        return 0


@dataclass
class Scene:
    folder: Path
    store: Memory

    def keep(self, tree: Tree) -> str:
        self.store.write(tree_key(tree.digest), encode_tree(tree))
        return tree.digest

    def run(self, files: Files, steps: list[str], working_dir: str, *, bare: bool) -> tuple[object, Observation]:
        """Output of a program in a fresh checkout, and what was learned. `bare`: it has no artifacts and no inputs."""
        spec = JobSpec(("bash",), working_dir=working_dir, artifacts=() if bare else (ArtifactSpec("res/made/out"),))
        given = () if bare else (Artifact("in/dep", self.keep(tree_of({"n.txt": Node(1), "sub/n.txt": Node(1)}))),)
        workspace = Workspace(self.folder / "attempt", spec)
        observation = Observation(spec, Code(tree_paths(tree_of(files))).watched(None)[0])
        code = load_tree(self.store, self.keep(tree_of(files)))
        workspace.make(self.store, code, given, Transfer(lambda done, total: None))
        outside = self.folder / "attempt" / "outside"
        for folder in ("res/made/out", "in/dep") if bare else ():
            (outside / folder).mkdir(parents=True)
        above = f"{outside}/" if bare else ""
        observation.begin(workspace, code, given, InPlace())
        done = subprocess.run(
            ["bash", "-c", "\n".join(steps).replace("{R}", "." if working_dir == "." else "..")],
            cwd=workspace.cwd,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "OUT": f"{above}res/made/out", "IN": f"{above}in/dep"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        observation.end()
        return (done.returncode, done.stdout, saved((outside if bare else workspace.cwd) / "res/made/out")), observation


def saved(folder: Path) -> object:
    """All that an artifact is."""
    if folder.is_symlink():
        return os.readlink(folder)
    if folder.is_dir():
        return {entry.name: saved(entry) for entry in folder.iterdir()}
    return (folder.read_bytes(), bool(folder.stat().st_mode & 0o100)) if folder.exists() else None


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path, Memory())


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**64))
def test_a_job_that_would_be_reused_gives_the_same_when_it_runs(scene, seed):
    random = Random(seed)  # drawn one by one, what hypothesis makes resembles what it made before, and finds less
    files = checkout(random)
    steps = program(random, files)
    working_dir = random.choice([".", "work"])
    bare = random.random() < 0.5
    output, observation = scene.run(files, steps, working_dir, bare=bare)
    watched = observation.watched
    assert watched.observed

    def would_be_reused(edited: Files) -> bool:
        code = Code(tree_paths(entries_of(edited)))
        return same_code(watched, code.watched(None)[0], code)

    assert would_be_reused(files)
    edited = files
    for path, node in edits(random, files):
        further = set_node(edited, path, node)
        if further != edited and would_be_reused(further):
            edited = further
    again, _ = scene.run(edited, steps, working_dir, bare=bare)
    changed = [f"{p}: {files.get(p)} -> {edited.get(p)}" for p in {**files, **edited} if files.get(p) != edited.get(p)]
    note("\n".join(["program:", *steps, f"in {working_dir}, edits:", *changed]))
    assert again == output
