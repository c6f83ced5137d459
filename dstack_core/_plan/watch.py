"""Which paths of the repository a job depends on.

Without `inputs`, a job depends on all of the code snapshot, except for the workflow files themselves
(`.dstack/workflows.yaml`, `.dstack/workflows/*.yaml|*.yml`): what they say about a job is in its base key, so that a
change to one workflow does not run the others again.

`inputs` are globs, relative to the root of the checkout, always anchored there:

    *       anything within one name, hidden files included        ?      one character of a name
    **      any number of folders (`src/**/*.py` has `src/a.py`)    [ab]   one of these characters; [!ab] none of them
    !glob   takes away what the globs before it selected

A glob that matches a folder selects all that lies in it, at any depth. A workflow file counts when a glob selects it.

Of a file, its bytes and whether it may be executed count; of a link, where it points. Other permissions and empty
folders do not: git does not keep them, and a colleague's checkout is to be the same code.

What was learned of a job (`learned`) names more than files. No path of a snapshot looks like these:

    src/      the entries of a folder: their names, and which are folders, links, executable. That of the root is `/`
    src//     everything at or below a path, with its content
    //name    all places of that name (`search_name`): where else a search for it might end
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import TYPE_CHECKING

from dstack_core._ledger.traces import Watched

if TYPE_CHECKING:
    from dstack_core._content.entries import TreeEntry

_WORKFLOW_FILE = re.compile(r"\.dstack/workflows(\.yaml|\.yml|/[^/]*\.ya?ml)")
_MODULES = (".py", ".pyc", ".so")
_WILD = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]/]*\]|.", re.DOTALL)


def tree_paths(tree: Iterable[TreeEntry]) -> dict[str, str]:
    """Path -> what counts of it, of every file and link of a tree."""
    paths = {}
    for entry in tree:
        if entry.kind == "file":
            paths[entry.path] = f"{'x' if entry.mode & 0o100 else 'f'} {entry.digest}"
        elif entry.kind == "link":
            paths[entry.path] = f"l {entry.target}"
    return paths


class Code:
    """The paths of one code snapshot (as `tree_paths` gives them), as jobs watch them."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = paths

    def watched(self, globs: tuple[str, ...] | None) -> tuple[Watched, tuple[str, ...]]:
        """What a job with these `inputs` watches, and the globs among them that match nothing."""
        if globs is None:
            return self._tree, ()
        if globs not in self._by_globs:
            self._by_globs[globs] = self._select(globs)
        return self._by_globs[globs]

    def digest(self, path: str) -> str:
        """Of a file, or of what else a recorded path stands for; `""` for what is not there."""
        if "//" not in path and not path.endswith("/"):
            return self.paths.get(path, "")
        members = self.members(path)
        return listing(members) if members else ""

    def members(self, path: str) -> Set[str]:
        """Paths that a recorded path stands for; before each, with a zero byte between, what counts of it."""
        if path.startswith("//"):
            return self._places.get(path[2:], frozenset())
        if path.endswith("//"):
            below = self._starting(path[:-1])
            top = path[:-2]
            return {f"{self.paths[p]}\0{p}" for p in ([top] if top in self.paths else []) + below}
        return self._folders.get(path, frozenset())

    def again(self, then: Watched) -> Watched:
        """The same paths as they are in this code. Whether equal code is a match is not asked."""
        return replace(then, code="", paths={path: self.digest(path) for path in then.paths})

    def matching(self, glob: str) -> tuple[str, ...]:
        """Paths that one glob (without `!`) selects, sorted."""
        if glob not in self._by_glob:
            pattern = posixpath.normpath(glob).lstrip("/")
            wild = _WILD.search(pattern)
            candidates = self._starting(pattern[: wild.start()] if wild else pattern)
            matches = _regex(pattern).fullmatch
            self._by_glob[glob] = tuple(path for path in candidates if matches(path))
        return self._by_glob[glob]

    @functools.cached_property
    def code(self) -> str:
        """Digest of all of it but the workflow files."""
        parts = [f"{path}\0{self.paths[path]}\0" for path in self._sorted if not is_workflow_file(path)]
        return hashlib.sha256("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    @functools.cached_property
    def _tree(self) -> Watched:
        return Watched("tree", self.code)

    @functools.cached_property
    def _by_globs(self) -> dict[tuple[str, ...], tuple[Watched, tuple[str, ...]]]:
        return {}

    @functools.cached_property
    def _by_glob(self) -> dict[str, tuple[str, ...]]:
        return {}

    @functools.cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.paths)

    @functools.cached_property
    def _folders(self) -> Mapping[str, set[str]]:
        folders: dict[str, set[str]] = {"/": set()}
        for path, digest in self.paths.items():
            entry = f"{digest[:1]}\0{path}"
            parent = path.rpartition("/")[0]
            while f"{parent}/" not in folders:
                folders[f"{parent}/"] = {entry}
                entry = f"d\0{parent}"
                parent = parent.rpartition("/")[0]
            folders[f"{parent}/"].add(entry)
        return folders

    @functools.cached_property
    def _places(self) -> Mapping[str, set[str]]:
        places: dict[str, set[str]] = {}
        for path, digest in self.paths.items():
            if not is_workflow_file(path):
                places.setdefault(search_name(path), set()).add(f"{digest[:1]}\0{path}")
        for folder in self._folders.keys() - {"/"}:
            path = folder[:-1]
            places.setdefault(posixpath.basename(path), set()).add(f"d\0{path}")
        return places

    def _starting(self, prefix: str) -> list[str]:
        if prefix == ".":
            return self._sorted
        start = bisect.bisect_left(self._sorted, prefix)
        end = start
        while end < len(self._sorted) and self._sorted[end].startswith(prefix):
            end += 1
        return self._sorted[start:end]

    def _select(self, globs: tuple[str, ...]) -> tuple[Watched, tuple[str, ...]]:
        chosen: dict[str, str] = {}
        unmatched = []
        for glob in globs:
            paths = self.matching(glob.removeprefix("!"))
            if not paths:
                unmatched.append(glob)
            if glob.startswith("!"):
                for path in paths:
                    chosen.pop(path, None)
            else:
                chosen.update((path, self.paths[path]) for path in paths)
        code = "" if any(is_workflow_file(path) for path in chosen) else self.code
        return Watched("paths", code, dict(sorted(chosen.items()))), tuple(unmatched)


def is_workflow_file(path: str) -> bool:
    """Whether dstack reads workflows from this file of the repository."""
    return _WORKFLOW_FILE.fullmatch(path) is not None


def search_name(path: str) -> str:
    """The name under which programs look for a file along a search path: a module's for Python, else its own."""
    name = posixpath.basename(path)
    return (name.partition(".")[0] or name) if name.endswith(_MODULES) else name


def is_module(path: str) -> bool:
    """Whether Python can import the file."""
    return path.endswith(_MODULES)


def listing(members: Set[str]) -> str:
    """Digest of what a recorded path stands for (`Code.members`)."""
    return hashlib.sha256(json.dumps(sorted(members)).encode("ascii")).hexdigest()


def same_code(then: Watched, now: Watched, code: Code | None) -> bool:
    """Whether what a finished job watched is now as it was then.

    Every path that was recorded must have an equal digest in the present `code`. Unless what was recorded was
    observed, it must also have every path that is declared now: an input added since was not accounted for.
    """
    if now.code and then.code == now.code:
        return True
    if then.kind != "paths" or not (then.observed or now.kind == "paths"):
        return False
    if not then.observed and any(path not in then.paths for path in now.paths):
        return False
    unknown = [path for path in then.paths if path not in now.paths]
    if unknown and code is None:
        return False
    return all(
        digest == (now.paths[path] if path in now.paths else code.digest(path) if code else "")
        for path, digest in then.paths.items()
    )


def _regex(pattern: str) -> re.Pattern[str]:
    if pattern == ".":
        return re.compile(".*", re.DOTALL)
    text = "".join(_translate(token) for token in _TOKEN.findall(pattern))
    try:
        return re.compile(f"{text}(?:/.*)?", re.DOTALL)
    except re.error:  # a set such as [z-a]: then it is a name like any other
        return re.compile(f"{re.escape(pattern)}(?:/.*)?", re.DOTALL)


def _translate(token: str) -> str:
    fixed = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token)
    if fixed is not None:
        return fixed
    negated = token.startswith("[!")
    inside = token[2 if negated else 1 : -1]
    if not token.startswith("[") or not inside:
        return re.escape(token)
    inside = re.sub(r"[\\\[\]^&~|]|(?<=-)-", r"\\\g<0>", inside)
    return f"(?!/)[{'^' if negated else ''}{inside}]"
