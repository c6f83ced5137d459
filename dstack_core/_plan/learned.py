"""What a job was seen to use of its code, as paths that later plans compare (see `watch`).

A file that was used counts with its content, a link with what it points to. A look at a name that is not there leaves
no trace, so names count where programs look for them: in every folder from which something was used, in the working
folder, and in the folders above these, in which configuration is looked for. A file elsewhere that has the name of one
that was used counts, too: an include path or a module search path may come to it first.

An empty file counts always: who opens one and sees that it is empty need not read it.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from dstack_core._ledger.traces import Watched
from dstack_core._plan.watch import Code, is_module, is_workflow_file, search_name

_EMPTY: Final = hashlib.sha256(b"").hexdigest()
_OF_WORKFLOWS: Final = frozenset({".dstack/", ".dstack/workflows/"})


@dataclass(frozen=True)
class Use:
    """What a job used, as paths relative to the root of the code; that itself is `""`.

    Attributes:
        files: files and links that it read, executed, followed, changed, moved or linked.
        folders: those whose entries it listed or changed, or may have looked up without a trace.
        covered: where other things were laid over the code: nothing of the code may come to lie there.
    """

    files: Collection[str]
    folders: Collection[str]
    covered: Collection[str] = ()


def learned(code: Code, use: Use) -> Watched:
    """What the job watched, as it was found."""
    targets = {target for path in use.files if (target := _target(code, path))}
    watched = {*use.files, *targets, *_empty_files(code)}
    watched |= {f"{folder}/" for folder in _folders(use)}
    watched |= {f"{target}/" for target in targets if target not in code.paths}
    watched |= {f"{path}//" for path in use.covered}
    watched |= {f"//{name}" for path in use.files for name in _names(path)}
    known = not any(path in _OF_WORKFLOWS or is_workflow_file(path) for path in watched)
    paths = {path: code.digest(path) for path in sorted(watched)}
    return Watched("paths", code.code if known else "", paths, observed=True)


def files_of(watched: Watched) -> list[str]:
    """The files and links among observed paths."""
    return [p for p, digest in watched.paths.items() if digest and not p.startswith("//") and not p.endswith("/")]


def folders_of(watched: Watched) -> list[str]:
    """The folders whose entries count among observed paths, without the final slash; the root is `.`."""
    folders = [p for p, digest in watched.paths.items() if digest and p.endswith("/") and not p.endswith("//")]
    return [path.rstrip("/") or "." for path in folders]


def trees_of(watched: Watched) -> list[str]:
    """The paths of which everything at or below them counts, without the final slashes."""
    return [path[:-2] for path in watched.paths if path.endswith("//")]


def above(path: str) -> Iterator[str]:
    """The folders in which a path lies, the root (`""`) last."""
    while path:
        path = posixpath.dirname(path)
        yield path


def _target(code: Code, path: str) -> str | None:
    """Where in the code a link points, whether anything is there or not."""
    kind, _, target = code.digest(path).partition(" ")
    if kind != "l" or target.startswith("/"):
        return None
    place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return None if place == "." or place.startswith("..") else place


def _empty_files(code: Code) -> Iterator[str]:
    for path, digest in code.paths.items():
        if digest.endswith(_EMPTY) and not digest.startswith("l") and not is_workflow_file(path):
            yield path


def _folders(use: Use) -> set[str]:
    inside = {*use.folders, *(posixpath.dirname(path) for path in use.files)}
    around = {folder for path in (*inside, *use.covered) for folder in above(path)}
    return inside | around


def _names(path: str) -> Iterator[str]:
    """Names that a search may have been for when it ended at `path`: for Python those of its packages, too."""
    if is_module(path):
        yield from (posixpath.basename(folder) for folder in above(path) if folder)
    if posixpath.basename(path) != "__init__.py":
        yield search_name(path)
