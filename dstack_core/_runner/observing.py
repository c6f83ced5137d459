"""What an attempt used of its code: learned for jobs that declare no `inputs`, checked for those that do."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from dstack_core._content.entries import Tree
from dstack_core._ledger.traces import Watched
from dstack_core._plan.learned import Use, above, learned
from dstack_core._plan.watch import Code, tree_paths
from dstack_core._runner.access import hindrance
from dstack_core._runner.reading import Reading
from dstack_core._runner.workspace import Workspace
from dstack_core.executor import Executor
from dstack_core.models import Artifact, JobSpec

MOST_NAMES: Final = 3
"""Files that a warning names; the others are counted."""


class Observation:
    """Of one attempt: begun when its workspace is laid out, ended when the job has, before anything is saved.

    Attributes:
        warnings: files that were used though the declared `inputs` do not cover them.
    """

    def __init__(self, spec: JobSpec, planned: Watched) -> None:
        self._spec = spec
        self._planned = planned
        self._hindrance = "it was not run to its end"
        self._reading: Reading | None = None
        self._used: frozenset[str] = frozenset()
        self.warnings: tuple[str, ...] = ()

    def begin(self, workspace: Workspace, tree: Tree, inputs: Sequence[Artifact], executor: Executor) -> None:
        """The last thing before the executor starts. Reads nothing of the checkout."""
        self._tree = tree
        self._covered = self._places(given.path for given in inputs)
        self._hindrance = self._hindered(workspace, executor)
        if not self._hindrance:
            self._reading = Reading(workspace.root, self._marked())
            try:
                self._reading.mark()
            except OSError as error:
                self._hindrance = f"access times cannot be set: {error.strerror}"

    def end(self) -> None:
        """The first thing after the job."""
        if self._reading and not self._hindrance:
            self._used = frozenset(self._reading.used())
            self.warnings = tuple(self._uncovered())

    @property
    def watched(self) -> Watched:
        """What the job's result depends on, as far as it is known."""
        if self._planned.kind != "tree":
            return self._planned
        if self._hindrance:
            return replace(self._planned, hindrance=self._hindrance)
        folders = self._used.intersection(entry.path for entry in self._tree if entry.kind == "dir")
        use = Use(self._used - folders, folders.union(self._around()), self._covered)
        return learned(Code(tree_paths(self._tree)), use)

    def _hindered(self, workspace: Workspace, executor: Executor) -> str:
        if not self._spec.reusable:
            return "it is never reused"
        if not executor.in_place:
            return "its executor does not run jobs on the files of the checkout"
        if any(posixpath.normpath(spec.path) == "." for spec in self._spec.artifacts):
            return "its artifact . holds the code"
        if "" in self._covered:
            return "an artifact of a dep lies over all of the code"
        links = {entry.path for entry in self._tree if entry.kind == "link"}
        artifacts = self._places(spec.path for spec in self._spec.artifacts)
        if any(not links.isdisjoint(above(path)) for path in (*artifacts, *self._covered, *self._places(["./x"]))):
            return "a link of the repository is on the way to its folder or its artifacts"
        return hindrance(workspace.folder)

    def _marked(self) -> Iterator[str]:
        """All of the code but what lies where artifacts will: that was removed before the job began."""
        artifacts = self._places(spec.path for spec in self._spec.artifacts)
        inside = tuple(f"{place}/" for place in artifacts)
        for entry in self._tree:
            if entry.path not in artifacts and not entry.path.startswith(inside):
                yield entry.path

    def _around(self) -> Iterator[str]:
        """The working folder, and the folders that were made to hold artifacts: what else lies there can be seen."""
        yield from self._places(["."])
        yield from map(posixpath.dirname, self._places(spec.path for spec in self._spec.artifacts))

    def _places(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Paths of the working folder, relative to the root (`""`). Absolute ones are not in the checkout."""
        folder = self._spec.working_dir or "."
        joined = (posixpath.normpath(posixpath.join(folder, path)) for path in paths)
        return tuple("" if path == "." else path for path in joined if not path.startswith("/"))

    def _uncovered(self) -> Iterator[str]:
        if self._planned.kind != "paths":
            return
        folders = {entry.path for entry in self._tree if entry.kind == "dir"}
        files = sorted(self._used.difference(folders, self._planned.paths))
        if files:
            named = ", ".join(files[:MOST_NAMES])
            more = f" and {len(files) - MOST_NAMES:,} more" if len(files) > MOST_NAMES else ""
            yield f"it used {named}{more}, which its inputs do not cover"
