"""The folders of an attempt."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from dstack_local.store import FolderStore

from dstack_core._content.manifest import load_tree
from dstack_core._content.saving import save_tree
from dstack_core._runner.transfer import Transfer
from dstack_core._runner.workspace import Workspace, artifact_path
from dstack_core.errors import JobError
from dstack_core.models import Artifact, ArtifactSpec, JobSpec

PROGRAM = """
import os, sys
from pathlib import Path
from dstack_core._runner.workspace import Workspace
from dstack_core.models import JobSpec
if os.geteuid() == 0:  # whom no mode keeps out
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
workspace = Workspace(Path(sys.argv[1]) / "w", JobSpec(("true",)))
inner = workspace.root / "a/b/c"
inner.mkdir(parents=True)
(inner / "f").write_text("x")
for folder in (inner, inner.parent, inner.parent.parent):
    folder.chmod(0)
workspace.remove()
assert not workspace.folder.exists()
"""


def test_folders_that_nobody_may_look_into_are_removed(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    for above in (folder, *list(folder.parents)[:-2]):
        if os.stat(above).st_uid == os.geteuid():
            above.chmod(above.stat().st_mode | 0o711)
    folder.chmod(0o777)
    subprocess.run([sys.executable, "-c", PROGRAM, folder], check=True)


@pytest.mark.parametrize(
    "path", ["data", "./data", "a.b/data", "logs.d/", ".cache", "m/0.1", "m/1e-3", "v2.5-small", "1.0"]
)
def test_folders(path):
    assert ArtifactSpec(path).folder


@pytest.mark.parametrize("path", ["model.pt", "a/x.tar.gz", "music.mp4", "x.7z", ".cache.json", "model.h5"])
def test_what_may_be_a_file(path):
    assert not ArtifactSpec(path).folder


@pytest.mark.parametrize(
    ("declared", "path"),
    [("./a/", "a"), ("a/../b", "b"), ("/opt/x/", "/opt/x"), ("//opt//x", "/opt/x"), ("/a/../..", "/")],
)
def test_paths(declared, path):
    assert artifact_path(declared) == path


def test_a_path_that_leads_out():
    with pytest.raises(JobError):
        artifact_path("../x")


def test_absolute_paths_lie_beside_the_checkout(tmp_path):
    store = FolderStore({"path": str(tmp_path / "store")})
    given = tmp_path / "given"
    given.mkdir()
    (given / "x").write_text("hello")
    code = tmp_path / "empty"
    code.mkdir()
    specs = (ArtifactSpec("out"), ArtifactSpec("/opt/env"), ArtifactSpec("/opt/env/inner"))
    workspace = Workspace(tmp_path / "work", JobSpec(("true",), artifacts=specs))
    trees = {path: save_tree(store, path).digest for path in (given, code)}
    inputs = [Artifact("/data/set", trees[given]), Artifact("local", trees[given])]
    workspace.make(store, load_tree(store, trees[code]), inputs, Transfer(lambda done, total: None))
    assert {*workspace.places} == {"/data/set", "/opt/env"}, "what lies inside another comes with it"
    assert (workspace.places["/data/set"] / "x").read_text() == "hello"
    assert (workspace.places["/opt/env"] / "inner").is_dir()
    assert workspace.place("/opt/env/inner") == workspace.places["/opt/env"] / "inner"
    assert (workspace.cwd / "local" / "x").exists()
    assert not workspace.places["/opt/env"].is_relative_to(workspace.root)
