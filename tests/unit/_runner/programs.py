"""Random checkouts, programs that use them in every way that a rule of `learned` is for, and edits."""

from __future__ import annotations

import functools
import hashlib
import posixpath
import sys
from random import Random
from typing import NamedTuple

from dstack_core._content.entries import Tree, TreeEntry


class Node(NamedTuple):
    """A file, or a link when it has a target. `text` 0: empty."""

    text: int = 0
    executable: bool = False
    target: str = ""


Files = dict[str, Node]

PLACES = (
    "a.txt", "opt.txt", "cfg", "work/opt.txt", "work/new.txt", "work/tool",
    "src/a.txt", "src/mod.py", "src/opt.txt", "src/pkg/__init__.py", "src/pkg/inner.py", "src/new.txt",
    "inc/one/h.sh", "inc/one/other.sh", "inc/two/h.sh", "inc/two/e.sh", "inc/one/tool", "inc/two/tool",
    "conf/cfg", "conf/mid/cfg", "conf/mid/deep/c.txt", "conf/mid/deep/cfg",
    "docs/a.md", "docs/new.md", "docs/deep/b.md", "data/x.csv", "data/y.csv", "data/deep/z.csv", "data/new.txt",
    "in/note.txt", "res/made/out/old.txt",
    ".dstack/workflows.yaml", ".dstack/workflows/b.yaml", ".dstack/workflows/c.yaml",
)  # fmt: skip
ALWAYS = (
    "work/w.txt", "in/dep/code.txt", "work/in/dep/code.txt", "res/r.txt",
    "deps/x/note", "deps/y/two/mod.py", "deps/y/two/pkg/__init__.py",
)  # fmt: skip
LATER = (
    "deps/x/one/mod.py", "deps/x/one/mod/__init__.py", "deps/x/one/pkg.py",
    "in/dep/more/x", "in/dep/sub/x", "work/in/dep/sub/x", "res/made/x", "res/made/out/new.txt",
    "docs/none", "conf/none/x", "deep/x", "src/deep/x", "work/deep/x",
)  # fmt: skip
LINKS = ("to-file", "to-folder", "docs/to-file")
TARGETS = ("docs/a.md", "docs/new.md", "docs/deep/b.md", "data", "src", "docs/none", "conf/none/x")


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


def opens_empty(path: str) -> list[str]:
    """Whether there is anything in it is known without reading."""
    at = f"{{R}}/{path}"
    mapped = python(f'import mmap; print(mmap.mmap(open("{at}").fileno(), 0, prot=1)[:])')
    return [f"source {at}", f"tar -cf - {at} | tail -c +513 | head -c 9", mapped]


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
    return [f"cat {at}", f"ls {at}/", f"[ -e {at} ] && echo e", f"readlink {at}", f"cp -P {at} $OUT/", f"mv {at} $OUT/"]


SEARCH = "for d in {places}; do if [ -f {{R}}/$d/{name} ]; then {act} {{R}}/$d/{name}; break; fi; done"
_IMPORT = 'import sys; sys.path[:0] = ["{{R}}/deps/x/one", "{{R}}/deps/y/two"]; import {0}; print({0}.VALUE)'


IMPORTS = [python(_IMPORT.format(name)) for name in ("mod", "pkg")]


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
    """From what was read to the folders above, as many programs look for their configuration."""
    found = "cat {R}/conf/mid/deep/c.txt; "
    places = "conf/mid/deep conf/mid conf"
    steps = [found + SEARCH.format(places=places, name=name, act="cat") for name in ("cfg", "opt.txt", "new.txt")]
    return steps if "conf/mid/deep/c.txt" in files else []


OPTIONAL = ("if [ -f opt.txt ]; then cat opt.txt; else echo none; fi", "cat new.txt")
TESTED = ("[ -x tool ] && echo tool", "[ -d deep ] && echo deep")
BESIDE_OUTPUT = ("ls $OUT/..", "ls $OUT", "find $OUT/../.. | sort")
BESIDE_INPUT = ("ls $IN/sub", "cat $IN/sub/*", "ls $IN", "ls $IN/..")


def program(random: Random, files: Files) -> list[str]:
    """Up to four ideas; one that has few variants is not had more seldom."""
    plain = [path for path, node in files.items() if not node.target]
    links = [path for path, node in files.items() if node.target]
    folders = sorted({posixpath.dirname(path) for path in files} - {""})
    ideas = [
        *([step for path in plain for step in idea(path)] for idea in (reads, moves, looks_around)),
        *([step for folder in folders for step in idea(folder)] for idea in (lists, lists_kinds, makes)),
        [step for path in links for step in follows(path)],
        *(idea(files) for idea in (searches, climbs)),
        IMPORTS,
        [step for path in plain if not files[path].text for step in opens_empty(path)],
        [step for path in plain if path.startswith(".dstack/") for step in (f"cat {{R}}/{path}", "ls -R {R}/.dstack")],
        OPTIONAL,
        TESTED,
        BESIDE_OUTPUT,
        BESIDE_INPUT,
    ]
    had = random.choices([idea for idea in ideas if idea], k=random.randint(1, 4))
    return [random.choice(idea) for idea in had]


def checkout(random: Random) -> Files:
    files: Files = {}
    for path in PLACES:
        if random.random() < 0.5:
            # An empty workflow file does not count unless it is seen to be read.
            least = 1 if path.startswith(".dstack/") else 0
            files = set_node(files, path, Node(random.randint(least, 3), random.random() < 0.5))
    for path in LINKS:
        if random.random() < 0.5:
            files = set_node(files, path, Node(target=random.choice(TARGETS)))
    for path in ALWAYS:
        files = set_node(files, path, Node(1))
    return files


FURTHER: list[tuple[str, Node | None]] = [
    *((path, Node(target="docs/deep/b.md")) for path in (*LINKS, "src/a.txt", "docs/a.md")),
    *((path, None) for path in LINKS),
    *((path, Node(1)) for path in ("src", "data/deep")),
    ("conf", Node(target="docs")),
]


def edits(random: Random, files: Files) -> list[tuple[str, Node | None]]:
    """Something for every place, mostly another content, and new files in every folder, in any order."""
    folders = {"", *(path[:i] for path in files for i, c in enumerate(path) if c == "/")}
    beside = [posixpath.join(folder, name) for folder in folders for name in ("opt.txt", "new.txt", "tool", "deep/x")]
    made = [edit for edit in FURTHER if random.random() < 0.5]
    for path in sorted({*PLACES, *ALWAYS, *LATER, *beside}):
        chance = random.random()
        node = Node(9, random.random() < 0.5)
        made.append((f"{path}/inside", node) if chance < 0.1 else (path, None if chance < 0.25 else node))
    random.shuffle(made)
    # Where all other code is equal, that is not looked at any further: are the workflow files?
    return made if random.random() < 0.8 else [edit for edit in made if edit[0].startswith(".dstack/")]
