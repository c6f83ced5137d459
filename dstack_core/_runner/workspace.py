"""The folders of one attempt: the checkout in which it works, and the scratch space of its executor."""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from dstack_core._content.entries import Tree
from dstack_core._content.restoring import restore_entries, restore_tree
from dstack_core._runner.transfer import Transfer
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import JobError
from dstack_core.models import Artifact, ArtifactSpec, JobSpec


def artifact_path(declared: str) -> str:
    """The normalised path of an artifact: absolute, or relative to the working folder.

    Raises:
        JobError: it leads out of the working folder.
    """
    path = posixpath.normpath(declared)
    if path == ".." or path.startswith("../"):
        raise JobError(
            f"the artifact {declared} is outside the working folder, and cannot be saved from there",
            hint="use a path inside it, or an absolute one and an executor that runs containers",
        )
    return f"/{path.lstrip('/')}" if path.startswith("/") else path


class Workspace:
    """Made for one attempt, removed after it. Everything in it is private to the user.

    Attributes:
        root: the checkout of the code.
        cwd: the working folder inside it; artifact paths start there.
        scratch: the executor's.
        outside: what has an absolute path where the job runs: `/opt/env` lies in `outside/opt/env`.
        places: absolute paths that the executor must give the job, and what of `outside` lies there.
    """

    def __init__(self, folder: Path, spec: JobSpec) -> None:
        self.folder = folder
        self.root = folder / "code"
        self.scratch = folder / "scratch"
        self.outside = folder / "outside"
        self.cwd = self.root / (spec.working_dir or ".")
        self.places: dict[str, Path] = {}
        self._spec = spec

    def make(self, store: ArtifactStore, code: Tree, inputs: Sequence[Artifact], transfer: Transfer) -> None:
        """Lay out code, then the artifacts of what it depends on, then empty artifact folders.

        Raises:
            JobError: the working folder does not exist, or an artifact lies outside it.
            StoreError: something cannot be restored.
        """
        self.remove()
        os.makedirs(self.scratch, mode=0o700)
        restore_entries(store, code, self.root, transfer.next(), digest=code.digest)
        if not self.cwd.is_dir():
            raise JobError(f"the working folder {self._spec.working_dir} is not in the repository")
        for artifact in self._spec.artifacts:
            self._clear(artifact)
        for given in inputs:
            target = self.place(artifact_path(given.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_symlink():  # of the repository's own: what it points to is not ours to write to
                target.unlink()
            restore_tree(store, given.tree, target, transfer.next(known=True))
        self._note_places([*(spec.path for spec in self._spec.artifacts), *(given.path for given in inputs)])

    def place(self, path: str) -> Path:
        """Where an artifact lies.

        Raises:
            JobError: a link on the way leads out of the checkout; what is there is not ours to empty or to write.
        """
        if path == ".":
            return self.cwd
        top, target = (self.outside, self.outside / path[1:]) if path.startswith("/") else (self.root, self.cwd / path)
        # Not `Path.resolve`, which raises for links that lead in a circle: behind those, there simply is nothing.
        if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(top)):
            raise JobError(f"the artifact {path} is behind a link that leads out of the repository")
        return target

    def inside(self, path: str) -> str | None:
        """An artifact's path, relative to the root of the checkout (`""`: all of it); None: it lies outside."""
        if path.startswith("/"):
            return None
        joined = posixpath.normpath(posixpath.join(self._spec.working_dir or ".", path))
        return "" if joined == "." else joined

    def _note_places(self, declared: Iterable[str]) -> None:
        """Those of the paths that are absolute, each without what lies inside another."""
        for path in sorted({artifact_path(path) for path in declared if path.startswith("/")}):
            if not any(path.startswith(f"{outer}/") for outer in self.places):
                self.places[path] = self.place(path)

    def write_script(self, text: str) -> Path | None:
        """The job's program as a private file, or None when it has none."""
        if not text:
            return None
        path = self.scratch / "script"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        return path

    def remove(self) -> None:
        """Remove everything, also what the job made unwritable."""
        if self.folder.exists():
            try:
                shutil.rmtree(self.folder)
            except OSError:
                _make_writable(self.folder)
                shutil.rmtree(self.folder)

    def _clear(self, spec: ArtifactSpec) -> None:
        """An artifact is what the job makes: what the checkout has there is not part of it."""
        path = self.place(artifact_path(spec.path))
        if path == self.cwd:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        (path if spec.folder else path.parent).mkdir(parents=True, exist_ok=True)


def _make_writable(folder: Path) -> None:
    """Let the owner into a folder and all those in it."""
    os.chmod(folder, 0o700)
    for above, names, _ in os.walk(folder):
        for path in (os.path.join(above, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o700)
