"""Which paths a job watches, and when what was watched is still the same."""

import fnmatch
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dstack_core._content.entries import TreeEntry
from dstack_core._ledger.traces import Watched
from dstack_core._plan.watch import Code, same_code, tree_paths

PATHS = (
    ".dstack/workflows.yaml", ".dstack/workflows/more.yml", ".hidden", "README.md", "data/a.csv", "data/deep/b.csv",
    "src/a.py", "src/b.py", "src/pkg/c.py", "src2/d.py", "train.py", "we[ir]d.py", "new\nline.py",
)  # fmt: skip
CODE = Code(dict.fromkeys(PATHS, "f 1"))

MATCHES = {
    "train.py": "train.py",
    "./train.py": "train.py",
    "/train.py": "train.py",
    "src": "src/a.py src/b.py src/pkg/c.py",
    "src/": "src/a.py src/b.py src/pkg/c.py",
    "src/*.py": "src/a.py src/b.py",
    "src/**/*.py": "src/a.py src/b.py src/pkg/c.py",
    "src/*": "src/a.py src/b.py src/pkg/c.py",
    "src/**": "src/a.py src/b.py src/pkg/c.py",
    "**/*.csv": "data/a.csv data/deep/b.csv",
    "s*/[ad].py": "src/a.py src2/d.py",
    "s*/[!ad].py": "src/b.py",
    "src?": "src2/d.py",
    "src?a.py": "",
    "src[/]a.py": "",
    "a.py": "",
    "*.yaml": "",
    "../train.py": "",
    ".h*": ".hidden",
    "we[[]ir]d.py": "we[ir]d.py",
    "we[ir]d.py": "",
    "[!]": "",
    "[z-a]": "",
    "": " ".join(PATHS),
    ".": " ".join(PATHS),
    "**": " ".join(PATHS),
    "*": " ".join(PATHS),
}


@pytest.mark.parametrize("glob", MATCHES)
def test_what_a_glob_selects(glob):
    expected = set(MATCHES[glob].split(" ")) - {""}
    assert set(CODE.matching(glob)) == expected


@given(st.text("ab[]!-^&|~\\*?/.", max_size=8))
@example("[a--b]")
@example("[&&]")
def test_any_glob_is_taken_and_a_path_matches_itself_when_nothing_is_wild(glob):
    code = Code({"a/b": "1", "ab": "1", "a": "1"})
    assert set(code.matching(glob)) <= {"a/b", "ab", "a"}


@given(st.text("ab*?", min_size=1, max_size=6), st.lists(st.text("ab", min_size=1, max_size=5), max_size=6))
def test_within_one_name_a_glob_is_that_of_the_shell(glob, names):
    if "**" in glob:
        return
    code = Code(dict.fromkeys(names, "1"))
    assert set(code.matching(glob)) == {name for name in names if re.match(fnmatch.translate(glob), name)}


def test_exclusions_apply_in_order():
    watched, unmatched = CODE.watched(("src/**", "!src/pkg", "src/pkg/c.py", "!nothing", "src2/*.txt"))
    assert list(watched.paths) == ["src/a.py", "src/b.py", "src/pkg/c.py"]
    assert unmatched == ("!nothing", "src2/*.txt")


def test_without_inputs_all_code_is_watched_but_not_the_workflow_files():
    def tree(**changes):
        return Code({**CODE.paths, **{path.replace("_", "/"): d for path, d in changes.items()}}).watched(None)[0]

    assert tree(**{".dstack_workflows.yaml": "f 2", ".dstack_workflows_more.yml": "f 2"}) == tree()
    assert tree(**{"train.py": "f 2"}) != tree()
    assert tree(**{"new.py": "f 1"}) != tree()
    assert tree(**{".dstack_workflows_helper.py": "f 1"}) != tree()


def test_a_workflow_file_that_is_declared_counts():
    globs = (".dstack/**",)
    before = CODE.watched(globs)[0]
    after = Code({**CODE.paths, ".dstack/workflows.yaml": "f 2"}).watched(globs)[0]
    assert not same_code(before, after, None)
    assert same_code(before, CODE.watched(globs)[0], None)


def test_names_that_are_not_utf8_are_watched():
    assert Code({"\udcff": "f 1"}).code != Code({"\udcfe": "f 1"}).code
    assert Watched("paths", "", {"\udcff": "f 1"}).digest != Watched("paths", "", {"\udcfe": "f 1"}).digest


def test_of_a_file_bytes_and_executability_count_and_of_a_link_its_target():
    def paths(*entries):
        return tree_paths(TreeEntry("", "dir") if e is None else e for e in (None, *entries))

    plain = TreeEntry("a", "file", 0o644, "1" * 64, size=1)
    assert paths(plain) == paths(plain._replace(mode=0o664)) == paths(plain, TreeEntry("empty", "dir", 0o755))
    assert len({
        str(paths(entry))
        for entry in (
            plain, plain._replace(mode=0o755), plain._replace(digest="2" * 64), plain._replace(path="b"),
            TreeEntry("a", "link", target="1" * 64), TreeEntry("a", "link", target="2"),
        )
    }) == 6  # fmt: skip


def declared(**paths):
    return Watched("paths", "then", {p.replace("_", "."): d for p, d in paths.items()})


NOW = {"a.py": "f 1", "b.py": "f 1", "data/x": "f 1", "data/deep/y": "f 1"}


def same(then, globs, now=None):
    code = Code(NOW if now is None else now)
    return same_code(then, code.watched(globs)[0], code)


def test_equal_declared_paths_are_the_same():
    assert same(declared(a_py="f 1"), ("a.py",))
    assert not same(declared(a_py="f 2"), ("a.py",))
    assert not same(declared(a_py="f 1"), ("a.py",), now={"b.py": "f 1"})


def test_a_new_file_that_a_glob_selects_is_a_change():
    assert not same(declared(a_py="f 1"), ("*.py",))


def test_recorded_set_may_differ_from_the_globs_now():
    assert same(declared(a_py="f 1", b_py="f 1"), ("a.py",)), "more was recorded than is declared now, all of it equal"
    assert not same(declared(a_py="f 1", b_py="f 2"), ("a.py",)), "more was recorded, and changed"
    assert not same(declared(a_py="f 1"), ("a.py", "b.py")), "an input was declared since: not accounted for"
    assert not same(declared(a_py="f 1"), None), "everything is declared since"
    assert not same_code(declared(a_py="f 1", b_py="f 1"), Code(NOW).watched(("a.py",))[0], None), "nothing to look in"


def test_equal_code_is_the_same_whatever_was_declared():
    tree, paths = Code(NOW).watched(None)[0], Code(NOW).watched(("a.py",))[0]
    assert same_code(tree, paths, None)
    assert same_code(paths, tree, None)
    other = Code({**NOW, "a.py": "f 2"})
    assert not same_code(tree, other.watched(("b.py",))[0], other), "adding inputs runs the job once more"


@pytest.mark.parametrize("globs", [None, ("a.py",), ("a.py", "b.py")])
def test_what_was_observed_counts_instead_of_what_is_declared(globs):
    code = Code(NOW)

    def observed(**paths):
        return Watched("paths", "", {**paths}, observed=True)

    assert same(observed(**{"a.py": "f 1"}), globs)
    assert same(observed(**{"a.py": "f 1", "absent": ""}), globs)
    assert not same(observed(**{"a.py": "f 2"}), globs)
    assert not same(observed(**{"a.py": ""}), globs)
    folder = observed(**{"data/": code.digest("data/"), "/": code.digest("/")})
    assert same(folder, globs)
    assert same(folder, globs, now={**NOW, "data/x": "f 2"}), "content of an entry is not the list of entries"
    assert not same(folder, globs, now={**NOW, "data/z": "f 1"})
    assert not same(folder, globs, now={**NOW, "c.py": "f 1"})
    assert same(observed(**{"nowhere/": ""}), globs)
    assert not same(observed(**{"data/": ""}), globs)
