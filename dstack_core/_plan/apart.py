"""Whether the cells of a matrix save to different paths, so that whoever takes them all has them all."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from dstack_core.errors import InputError


def check_apart(saved: Mapping[str, Iterable[str]], purpose: str, *, where: str | None = None) -> None:
    """Look at the artifacts' paths of each job of one workflow.

    Raises:
        InputError: two jobs save to one path, and so would overwrite one another `purpose`.
    """
    if len(saved) < 2:
        return
    owners: dict[str, str] = {}
    for job, paths in saved.items():
        for path in map(posixpath.normpath, paths):
            if (owner := owners.setdefault(path, job)) != job:
                raise InputError(
                    f"{owner} and {job} both save {path}: one would overwrite the other {purpose}",
                    hint=f"give each a path of its own: `artifacts: [{posixpath.join(path, '${{ matrix.KEY }}')}]`, "
                    "with all keys in it that have several values",
                    where=where,
                )
