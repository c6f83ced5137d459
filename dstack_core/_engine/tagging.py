"""Tags: names for the artifacts of a finished run."""

from __future__ import annotations

import time

from dstack_core._engine.view import RunView
from dstack_core._ledger.marks import saving
from dstack_core._ledger.records import SUCCESS, TagRecord
from dstack_core._ledger.runs import read_run
from dstack_core._ledger.tags import read_tag, write_tag
from dstack_core._plan.apart import check_apart
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError, InputError, NotFoundError

LONGEST = 100
"""Characters of a tag's name."""


def check_tag(name: str) -> str:
    """The name, if it can be one. Raises InputError."""
    problem = None
    if not name:
        problem = "is empty"
    elif len(name) > LONGEST:
        problem = f"is longer than {LONGEST} characters"
    elif not name.isprintable() or any(c.isspace() for c in name):
        problem = "has white space or control characters"
    elif set(name) & set("/:"):
        problem = "has a / or a :"
    elif name[0] in "-.":
        problem = f"begins with {name[0]}"
    if problem is None:
        return name
    raise InputError(
        f"{name[:LONGEST]!r} cannot be a tag: it {problem}", hint="use letters, digits, - _ . and no space"
    )


def tag_of(view: RunView, name: str, user: str) -> TagRecord:
    """The tag that names the artifacts of the workflow that the run was asked for, of all cells if it has a matrix.

    Raises:
        InputError: that workflow is not done, or left no artifacts; or cells of it would overwrite one another where
            the tag is used.
    """
    run = view.run
    targets = [job.name for job in view.plan.targets]
    for target in targets:
        if (status := view.progress.status[target]) not in SUCCESS:
            raise InputError(f"{run.name} cannot be tagged: {target} is {status}", hint=f"dstack ps {run.name}")
    saved = {target: [artifact.path for artifact in view.artifacts(target)] for target in targets}
    check_apart(saved, "where the tag is used")
    artifacts = tuple(artifact for target in targets for artifact in view.artifacts(target))
    if not artifacts:
        raise InputError(
            f"{run.name} cannot be tagged: {view.plan.target} has no artifacts", hint="declare `artifacts:`"
        )
    return TagRecord(name, run.repo, user, time.time(), artifacts, run.name, run.workflow)


def tag_run(store: ArtifactStore, view: RunView, tag: str, user: str) -> str | None:
    """Give a run that succeeded the tag that was asked for when it was started; the tag moves if it exists.

    Call it when the run's last job is finished and before the run's last status is recorded: then a crash in between
    loses no tag. Repeating it changes nothing. Never raises a DstackError.

    Returns:
        A warning when the tag was not set, else None.
    """
    try:
        if _is_set(store, tag_of(view, check_tag(tag), user)):
            return None
        with saving(store, f"the tag {tag} of {view.run.name}"):
            read_run(store, view.run.name)  # whoever was slow to come here may tag what was removed since
            write_tag(store, tag_of(view, tag, user), move=True)
    except DstackError as error:
        return f"the tag {tag} was not set: {error}"
    return None


def _is_set(store: ArtifactStore, wanted: TagRecord) -> bool:
    try:
        there = read_tag(store, wanted.repo, wanted.name)
    except NotFoundError:
        return False
    return (there.run, there.artifacts) == (wanted.run, wanted.artifacts)
