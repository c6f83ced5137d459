"""The artifacts that a run or a tag keeps, and what is in them by the paths that `dstack ls` shows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from dstack_core._cli.context import Context
from dstack_core._cli.jobs import job_records
from dstack_core._cli.lookup import find_run, find_tag, warn_of
from dstack_core._ledger.records import RunRecord
from dstack_core.artifact_store import ArtifactStore
from dstack_core.models import Artifact


@dataclass(frozen=True)
class Kept:
    """An artifact, and the job and workflow that made it; neither is known of uploaded ones."""

    artifact: Artifact
    job: str | None
    workflow: str | None


def kept_by(here: Context, source: str) -> tuple[ArtifactStore, list[Kept]]:
    """The store and the artifacts of RUN or :TAG, in the order of the plan. Raises NotFoundError with close matches."""
    if source.startswith(":"):
        there, tag = find_tag(here, here.repo, source[1:])
        return there.store, [Kept(artifact, tag.workflow, tag.workflow) for artifact in tag.artifacts]
    there, run = find_run(here, source)
    return there.store, list(_of_run(there, run))


def inside(path: str, folder: str) -> str | None:
    """`path` relative to `folder`, None when it is not in it. A file is in itself, under its own name."""
    if not folder:
        return path
    if path == folder:
        return posixpath.basename(path)
    return path[len(folder) + 1 :] if path.startswith(folder + "/") else None


def overlaps(artifact: Artifact, place: str) -> bool:
    """Whether something of the artifact can be at `place`, or in it."""
    path = place_of(artifact.path)
    return inside(path, place) is not None or inside(place, path) is not None


def place_of(path: str | None) -> str:
    """A path as artifacts have it, without `./` and a slash at the end; empty for all of them."""
    place = posixpath.normpath(path) if path else ""
    return "" if place == "." else place


def escaped(name: str) -> str:
    """A file's name as one printable word: names are data, and bytes of them must not steer the terminal."""
    return "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in name)


def _escape(char: str) -> str:
    # Lone surrogates stand for bytes that are no UTF-8.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _of_run(here: Context, run: RunRecord) -> Iterator[Kept]:
    for planned, job in job_records(here.store, run, warn_of):
        for artifact in job.artifacts:
            yield Kept(artifact, planned.name, planned.workflow)
