"""The folders of an attempt."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dstack_core._runner.workspace import is_folder
from dstack_core.models import ArtifactSpec

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
    assert is_folder(ArtifactSpec(path))


@pytest.mark.parametrize("path", ["model.pt", "a/x.tar.gz", "music.mp4", "x.7z", ".cache.json", "model.h5"])
def test_what_may_be_a_file(path):
    assert not is_folder(ArtifactSpec(path))
