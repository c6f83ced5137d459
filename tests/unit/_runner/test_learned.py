"""What was learned of a job is enough: whenever it would be reused, running it again gives the same.

Small random programs work as real processes on a small random checkout. Then the code is edited, again and again, as
long as the plan would still reuse the job: everything that may change without a new run has changed then. Running the
program there must give the same output. DSTACK_LEARNED_EXAMPLES sets how many programs are tried.

No program looks for a name in a folder that it does not use otherwise, and finds none: that leaves no trace, and
docs/explanation/reuse.md says so.
"""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from dstack_core._content.entries import Tree, TreeEntry, tree_key
from dstack_core._content.manifest import encode_tree
from dstack_core._plan.watch import Code, same_code, tree_paths
from dstack_core._runner.observing import Observation
from dstack_core._runner.transfer import Transfer
from dstack_core._runner.workspace import Workspace
from dstack_core.artifact_store import ANY, ArtifactStore, Object
from dstack_core.executor import Executor
from dstack_core.models import Artifact, ArtifactSpec, JobSpec

EXAMPLES = int(os.environ.get("DSTACK_LEARNED_EXAMPLES", "150"))


class Node(NamedTuple):
    """A file, or a link when it has a target. `text` 0: empty."""

    text: int = 0
    executable: bool = False
    target: str = ""


Files = dict[str, Node]

PLACES = (
    "a.txt", "opt.txt", "cfg", "work/w.txt", "work/opt.txt", "work/new.txt", "work/tool",
    "src/a.txt", "src/mod.py", "src/opt.txt", "src/pkg/__init__.py", "src/pkg/inner.py", "src/new.txt",
    "inc/one/h.sh", "inc/one/other.sh", "inc/two/h.sh", "inc/two/e.sh", "inc/one/tool", "inc/two/tool",
    "deps/x/lib/mod.py", "deps/x/lib/mod/__init__.py", "deps/x/lib/pkg.py", "deps/x/note", "deps/y/lib/mod.py",
    "deps/y/lib/pkg/__init__.py", "deps/y/lib/pkg/inner.py",
    "conf/cfg", "conf/mid/cfg", "conf/mid/deep/c.txt", "conf/mid/deep/cfg",
    "docs/a.md", "docs/new.md", "docs/deep/b.md", "data/x.csv", "data/y.csv", "data/deep/z.csv", "data/new.txt",
    "in/dep/code.txt", "in/note.txt", "res/r.txt", "res/out/old.txt",
    ".dstack/workflows.yaml", ".dstack/workflows/b.yaml", ".dstack/workflows/c.yaml",
)  # fmt: skip
LINKS = ("to-file", "to-folder", "docs/to-file")
TARGETS = ("docs/a.md", "docs/new.md", "docs/deep/b.md", "data", "src", "conf/none")


@functools.cache
def content(path: str, node: Node) -> bytes:
    """Each kind of file says its number in its own way."""
    if not node.text:
        return b""
    name = posixpath.basename(path)
    form = {"tool": "#!/bin/sh\necho tool {}\n", ".py": "VALUE = {}\n", ".sh": "echo sourced {}\n"}
    return form.get(name, form.get(posixpath.splitext(name)[1], "text {}\n")).format(node.text).encode()


def set_node(files: Files, path: str, node: Node | None) -> Files:
    """With `path` another one, or none. What is in its way goes."""
    above = {path[:i] for i, c in enumerate(path) if c == "/"}
    if node is None:
        return {p: n for p, n in files.items() if p != path}
    return {**{p: n for p, n in files.items() if p not in above and not p.startswith(f"{path}/")}, path: node}


@functools.cache
def entry_of(path: str, node: Node) -> TreeEntry:
    if node.target:
        return TreeEntry(path, "link", target=posixpath.relpath(node.target, posixpath.dirname(path) or "."))
    data = content(path, node)
    mode = 0o755 if node.executable else 0o644
    return TreeEntry(path, "file", mode, hashlib.sha256(data).hexdigest(), "", len(data), (), data)


def entries_of(files: Files) -> list[TreeEntry]:
    return [entry_of(path, node) for path, node in files.items()]


def tree_of(files: Files) -> Tree:
    folders = {path[:i] for path in files for i, c in enumerate(path) if c == "/"}
    return Tree([*(TreeEntry(folder, "dir", 0o755) for folder in {"", *folders}), *entries_of(files)])


# Each step of a program is a line of bash, for paths relative to the root of the code, which is {R}.


def python(code: str) -> str:
    return f"{sys.executable} -S -E -B -c '{code}'"


def reads(path: str) -> list[str]:
    at = f"{{R}}/{path}"
    return [
        f"cat {at}", f"head -c 3 < {at}", f"tac {at}", f"cp -p {at} $OUT/",
        f"source {at}", f"bash {at}", f"[ -x {at} ] && {at}; cat {at}",
        python(f'print(open("{at}").read())'),
        python(f'import runpy; print(runpy.run_path("{at}").get("VALUE"))'),
        python(f'import mmap; print(mmap.mmap(open("{at}").fileno(), 0, prot=1)[:])'),
        python(f'import os; os.copy_file_range(os.open("{at}", 0), os.open("copy", 65, 420), 99)') + "; mv copy $OUT/",
        python(
            f'import os; s = os.stat("{at}"); print(open("{at}").read()); '
            f'os.utime("{at}", ns=(s.st_atime_ns, s.st_mtime_ns))'
        ),
    ]  # fmt: skip


def moves(path: str) -> list[str]:
    """The bytes reach the artifact, and nobody read them."""
    at = f"{{R}}/{path}"
    return [f"mv {at} $OUT/", f"ln {at} $OUT/hard", f"echo more >> {at}; mv {at} $OUT/"]


def looks_around(path: str) -> list[str]:
    """For what may be missing, beside what was read."""
    at, folder = f"{{R}}/{path}", f"{{R}}/{posixpath.dirname(path) or '.'}"
    return [f"cat {at}; cat {folder}/{name}" for name in ("opt.txt", "new.txt")] + [
        f"cat {at}; [ -x {folder}/tool ] && echo tool",
        f"cat {at}; [ -d {folder}/deep ] && echo deep",
    ]


def lists(folder: str) -> list[str]:
    at = f"{{R}}/{folder}"
    return [
        f"ls -A {at}", f"find {at} | sort", f"echo {at}/*", f"cat {at}/*", f"cp -r {at} $OUT/", f"mv {at} $OUT/moved",
        python(f'import glob; print(sorted(glob.glob("{at}/*/*")))'),
    ]  # fmt: skip


def lists_kinds(folder: str) -> list[str]:
    at = f"{{R}}/{folder}"
    return [
        f"ls -AF {at}", f"find {at} -type f | sort", f"find {at} -perm -100 | sort",
        python(f'import os; print(sorted((e.name, e.is_dir()) for e in os.scandir("{at}")))'),
    ]  # fmt: skip


def makes(folder: str) -> list[str]:
    at = f"{{R}}/{folder}"
    return [f"echo made >> {at}/new.txt; cat {at}/new.txt", f"mkdir -p {at}/deep; ls {at}/deep"]


def follows(link: str) -> list[str]:
    at = f"{{R}}/{link}"
    return [f"cat {at}", f"ls {at}/", f"readlink {at}", f"cp -P {at} $OUT/", f"mv {at} $OUT/", f"[ -e {at} ] && echo e"]


SEARCH = "for d in {places}; do if [ -f {{R}}/$d/{name} ]; then {act} {{R}}/$d/{name}; break; fi; done"
IMPORT = 'import sys; sys.path[:0] = ["{{R}}/deps/x/lib", "{{R}}/deps/y/lib"]; import {0}; print({0}.VALUE)'


def searches(files: Files) -> list[str]:
    """Only those that find something, which is not empty: else there is no trace."""
    steps = []
    for name, act in (("h.sh", "source"), ("tool", "bash")):
        first = next((f for d in ("one", "two") if (f := files.get(f"inc/{d}/{name}"))), Node())
        if first.text:
            steps.append(SEARCH.format(places="inc/one inc/two", name=name, act=act))
    tools = [f for d in ("one", "two") if (f := files.get(f"inc/{d}/tool", Node())).executable]
    if tools and tools[0].text:
        steps.append("(PATH={R}/inc/one:{R}/inc/two:$PATH; tool)")
    return steps


def climbs(files: Files) -> list[str]:
    up = SEARCH.format(places="conf/mid/deep conf/mid conf .", name="cfg", act="cat")
    return ["cat {R}/conf/mid/deep/c.txt; " + up] if "conf/mid/deep/c.txt" in files else []


def imports(files: Files) -> list[str]:
    names = {"mod": "deps/y/lib/mod.py", "pkg": "deps/y/lib/pkg/__init__.py"}
    return [python(IMPORT.format(name)) for name, path in names.items() if path in files]


AROUND = (
    "if [ -f opt.txt ]; then cat opt.txt; else echo none; fi",
    "[ -x tool ] && echo tool",
    "[ -d deep ] && echo deep",
    "ls",
    "ls $IN",
    "cat $IN/*",
    "ls $IN/..",
    "ls $OUT/..",
    "ls $OUT",
)


def steps(files: Files) -> st.SearchStrategy[str]:
    """One of as many ideas; what has fewer variants is not tried less."""
    plain = [path for path, node in files.items() if not node.target]
    links = [path for path, node in files.items() if node.target]
    folders = sorted({posixpath.dirname(path) for path in files} - {""})
    ideas = [
        *([step for path in plain for step in idea(path)] for idea in (reads, moves, looks_around)),
        *([step for folder in folders for step in idea(folder)] for idea in (lists, lists_kinds, makes)),
        [step for path in links for step in follows(path)],
        *(idea(files) for idea in (searches, climbs, imports)),
        [step for path in plain if path.startswith(".dstack/") for step in (f"cat {{R}}/{path}", "ls -R {R}/.dstack")],
        AROUND,
    ]
    return st.sampled_from([idea for idea in ideas if idea]).flatmap(st.sampled_from)


NODES = st.tuples(st.integers(0, 3), st.booleans()).map(lambda made: Node(*made))


@st.composite
def checkouts(draw: st.DrawFn) -> Files:
    files: Files = {}
    for path in PLACES:
        if draw(st.booleans()):
            files = set_node(files, path, draw(NODES))
    for path in LINKS:
        if draw(st.booleans()):
            files = set_node(files, path, Node(target=draw(st.sampled_from(TARGETS))))
    return set_node(files, "work/w.txt", Node(1))


EDITS = (
    *((path, Node(9)) for path in PLACES),
    *((path, None) for path in PLACES),
    *((f"{path}/inside", Node(8)) for path in PLACES),
    *((path, Node(target="docs/deep/b.md")) for path in (*LINKS, "src/a.txt", "docs/a.md")),
    *((path, None) for path in LINKS),
    *((path, Node(7, executable=True)) for path in ("inc/one/tool", "work/tool", "src/a.txt")),
    ("src", Node(1)), ("data/deep", Node(1)), ("conf", Node(target="docs")),
    ("deep/x", Node(1)), ("work/deep/x", Node(1)), ("in/dep/more/x", Node(1)),
    ("conf/none", Node(1)), ("conf/none/x", Node(1)), ("res/more/x", Node(1)), ("res/out/new.txt", Node(1)),
)  # fmt: skip


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

    def run(self, files: Files, program: list[str], working_dir: str) -> tuple[object, Observation]:
        """Output of the program in a fresh checkout, and what was learned."""
        up = ".." if working_dir != "." else "."
        spec = JobSpec(("bash",), working_dir=working_dir, artifacts=(ArtifactSpec("res/out"),))
        given = Artifact("in/dep", self.keep(tree_of({"n.txt": Node(1)})))
        planned = Code(tree_paths(tree_of(files))).watched(None)[0]
        workspace = Workspace(self.folder / "work", spec)
        observation = Observation(spec, planned)
        code = workspace.make(self.store, self.keep(tree_of(files)), [given], Transfer(lambda done, total: None))
        observation.begin(workspace, code, [given], InPlace())
        done = subprocess.run(
            ["bash", "-c", "\n".join(program).replace("{R}", up)],
            cwd=workspace.cwd,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "OUT": "res/out", "IN": "in/dep"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        observation.end()
        return (done.returncode, done.stdout, saved(workspace.cwd / "res" / "out")), observation


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


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data(), checkouts(), st.sampled_from([".", "work"]))
def test_a_job_that_would_be_reused_gives_the_same_when_it_runs(scene, data, files, working_dir):
    program = data.draw(st.lists(steps(files), min_size=1, max_size=4))
    output, observation = scene.run(files, program, working_dir)
    watched = observation.watched
    assert watched.observed

    def would_be_reused(edited: Files) -> bool:
        code = Code(tree_paths(entries_of(edited)))
        return same_code(watched, code.watched(None)[0], code)

    assert would_be_reused(files)
    edited = files
    for path, node in random.Random(data.draw(st.integers(0, 2**32))).sample(EDITS, len(EDITS)):
        further = set_node(edited, path, node)
        if further != edited and would_be_reused(further):
            edited = further
    again, _ = scene.run(edited, program, working_dir)
    edits = {p: (files.get(p), edited.get(p)) for p in {**files, **edited} if files.get(p) != edited.get(p)}
    note("\n".join(["program:", *program, "edits:", *(f"{p}: {a} -> {b}" for p, (a, b) in edits.items())]))
    assert again == output
