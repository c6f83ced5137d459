"""What is recorded of a job's use of the code, and when that is the same later."""

import hashlib

import pytest

from dstack_core._plan.learned import Use, files_of, folders_of, learned, trees_of
from dstack_core._plan.watch import Code, same_code

EMPTY = f"f {hashlib.sha256(b'').hexdigest()}"
NOW = {
    "README.md": "f 1", "train.py": "f 1", "src/a.py": "f 1", "src/deep/b.txt": "f 1", "docs/x.md": "f 1",
    "lib/pkg/__init__.py": "f 1", "lib/pkg/inner.py": "f 1", "inc/two/a.h": "f 1", "inc/one/b.h": "f 1",
    "link": "l docs/x.md", "to-folder": "l docs", "dangling": "l docs/none", "out": "l /etc/passwd",
    ".dstack/workflows.yaml": "f 1",
}  # fmt: skip


def same(use, **edits):
    """Whether a job with this use is the same after the edits: path -> digest, None: removed."""
    edited = {**NOW, **edits}
    code = Code({path: digest for path, digest in edited.items() if digest is not None})
    return same_code(learned(Code(NOW), use), code.watched(None)[0], code)


def use(*files, folders=(), covered=()):
    return Use(files, folders, covered)


CASES = [
    (use("train.py"), {"README.md": "f 2"}, True),
    (use("train.py"), {"README.md": None}, False),
    (use("train.py"), {"train.py": "f 2"}, False),
    (use("train.py"), {"train.py": "x 1"}, False),
    (use("train.py"), {"docs/new.md": "f 1"}, True),
    (use("train.py"), {"docs/x.md": "x 2"}, True),
    (use("train.py"), {"new.py": "f 1"}, False),
    (use("train.py"), {"README.md": "x 1"}, False),
    (use("train.py"), {"README.md": "l train.py"}, False),
    (use("src/deep/b.txt"), {"src/new.py": "f 1"}, False),
    (use("src/deep/b.txt"), {"src/a.py": "f 2"}, True),
    (use("src/deep/b.txt"), {"new": "f 1"}, False),
    (use(folders=["docs"]), {"docs/new.md": "f 1"}, False),
    (use(folders=["docs"]), {"docs/x.md": "f 2"}, True),
    (use(folders=["docs"]), {"docs/x.md": None, "docs/x.md/y": "f 1"}, False),
    (use("inc/two/a.h"), {"inc/one/a.h": "f 1"}, False),
    (use("inc/two/a.h"), {"inc/one/c.h": "f 1"}, True),
    (use("lib/pkg/inner.py"), {"docs/inner.so": "f 1"}, False),
    (use("lib/pkg/inner.py"), {"docs/pkg/x": "f 1"}, False),
    (use("lib/pkg/inner.py"), {"docs/inner.txt": "f 1"}, True),
    (use("lib/pkg/__init__.py"), {"docs/a/__init__.py": "f 1"}, True),
    (use("lib/pkg/__init__.py"), {"docs/pkg.py": "f 1"}, False),
    (use("link"), {"docs/x.md": "f 2"}, False),
    (use("link"), {"link": "l README.md"}, False),
    (use("to-folder"), {"docs/new.md": "f 1"}, False),
    (use("dangling"), {"docs/none": "f 1"}, False),
    (use("dangling"), {"docs/none/x": "f 1"}, False),
    (use("dangling"), {"docs/other": "f 1"}, True),
    (use("out"), {"docs/new.md": "f 1"}, True),
    (use(covered=["data/in"]), {"data/in/x": "f 1"}, False),
    (use(covered=["data/in"]), {"data/in": "f 1"}, False),
    (use(covered=["data/in"]), {"data/x": "f 1"}, False),
    (use(covered=["docs"]), {"docs/x.md": "f 2"}, False),
    (use("train.py"), {".dstack/workflows.yaml": "f 2"}, True),
    (use("train.py"), {".dstack/workflows/more.yaml": "f 2"}, True),
    (use(".dstack/workflows.yaml"), {".dstack/workflows.yaml": "f 2"}, False),
    (use(folders=[".dstack"]), {".dstack/workflows.yml": "f 1"}, False),
    (use(folders=[".dstack"]), {".dstack/workflows.yaml": "f 2"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("used", "edits", "expected"), CASES, ids=str)
def test_what_counts(used, edits, expected):
    assert same(used)
    assert same(used, **edits) is expected


def test_an_empty_file_always_counts():
    code = Code({**NOW, "lib/empty.txt": EMPTY})
    watched = learned(code, use("train.py"))
    filled = Code({**NOW, "lib/empty.txt": "f 1"})
    assert not same_code(watched, filled.watched(None)[0], filled)
    more = Code({**NOW, "lib/empty.txt": EMPTY, "lib/more.txt": EMPTY})
    assert same_code(watched, more.watched(None)[0], more), "but not the folder that it is in"


def test_what_people_are_shown():
    watched = learned(Code(NOW), use("src/a.py", "dangling", covered=["data"]))
    assert files_of(watched) == ["dangling", "src/a.py"]
    assert folders_of(watched) == [".", "src"]
    assert trees_of(watched) == ["data"]


def test_what_must_be_told_apart_is():
    """A link's target may look like the end of a path."""
    assert Code({"d/b c": "l a"}).digest("d//") != Code({"d/c": "l a d/b"}).digest("d//")
