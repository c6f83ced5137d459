"""Edits are brought back where nothing else was changed, whole or not at all, and as often as there are new ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dstack_core._content.bringing import Bringing, bring, compare
from dstack_core._content.brought import Brought
from dstack_core._content.snapshot import scan_snapshot
from dstack_core._content.tree import load_tree, save_tree
from dstack_core.errors import StoreError

BASE = {"a": "a\n", "b": "b\n", "sub/c": "c\n"}


class Sides:
    """A base, what it was edited to, and a working tree that began as the base."""

    def __init__(self, folder: Path, store) -> None:
        self.folder, self.store = folder, store
        self.here = folder / "here"
        self.base = self.tree(BASE)
        self.write(self.here, BASE)
        self.brought = Brought("run-1", "job", self.here)

    def write(self, root: Path, files: dict[str, str]) -> None:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    def tree(self, files: dict[str, str]):
        root = self.folder / os.urandom(4).hex()
        root.mkdir()
        self.write(root, files)
        return load_tree(self.store, save_tree(self.store, root).digest)

    def compare(self, edited: dict[str, str], **options: bool) -> Bringing:
        here = scan_snapshot(self.here).tree
        return compare(self.here, self.base, self.tree(edited), here, brought=self.brought.read(), **options)

    def pull(self, edited: dict[str, str], **options: bool) -> dict[str, str]:
        found = self.compare(edited, **options)
        assert not found.conflicts
        bring(self.store, self.here, found.wanted)
        self.brought.add(found.wanted)
        return self.now()

    def now(self) -> dict[str, str]:
        return {str(path.relative_to(self.here)): path.read_text() for path in self.here.rglob("*") if path.is_file()}


@pytest.fixture
def sides(tmp_path, memory_store, monkeypatch) -> Sides:
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    return Sides(tmp_path, memory_store)


def test_changes_come_back(sides):
    assert sides.pull({"a": "edited\n", "sub/c": "c\n", "new/d": "d\n"}) == {
        "a": "edited\n", "sub/c": "c\n", "new/d": "d\n",
    }  # fmt: skip
    assert sides.compare({"a": "edited\n", "sub/c": "c\n", "new/d": "d\n"}) == Bringing([], [])


def test_what_was_changed_here_stays(sides):
    sides.write(sides.here, {"b": "mine\n", "own": "own\n"})
    assert sides.pull(BASE | {"a": "edited\n"}) == BASE | {"a": "edited\n", "b": "mine\n", "own": "own\n"}


def test_a_conflict_and_who_wins_it(sides):
    sides.write(sides.here, {"a": "mine\n", "new": "mine\n"})
    edited = BASE | {"a": "theirs\n", "new": "theirs\n", "b": "edited\n"}
    found = sides.compare(edited)
    assert found.conflicts == ["a", "new"]
    assert [change.path for change in found.wanted] == ["b"]
    assert sides.pull(edited, theirs=True) == edited


def test_later_edits_come_after_earlier_ones(sides):
    sides.pull(BASE | {"a": "first\n", "new": "first\n"})
    assert sides.pull(BASE | {"a": "second\n"}) == BASE | {"a": "second\n"}, "a file that came is gone again there"
    assert sides.pull(BASE) == BASE, "all of it undone there"
    sides.pull(BASE | {"a": "third\n"})
    sides.write(sides.here, {"a": "mine\n"})
    assert sides.compare(BASE | {"a": "fourth\n"}).conflicts == ["a"], "but not over what somebody wrote"
    sides.write(sides.here, {"a": "a\n"})
    assert sides.pull(BASE | {"a": "third\n"}) == BASE | {"a": "third\n"}, "what was undone here comes again"


def test_what_is_remembered_is_of_one_working_tree(sides):
    sides.pull(BASE | {"a": "first\n"})
    assert Brought("run-1", "job", sides.here).read().keys() == {"a"}
    for other in (("run-2", "job", sides.here), ("run-1", "job", sides.folder)):
        assert Brought(*other).read() == {}


def test_nothing_ignored_is_written_over(sides):
    sides.write(sides.here, {".gitignore": "secret\nbuild/\n", "secret": "mine", "build/o": "mine"})
    found = sides.compare(BASE | {"secret": "theirs", "build/o": "theirs"}, theirs=True)
    assert found.conflicts == ["build/o", "secret"]


def test_nothing_is_written_behind_a_link(sides, tmp_path):
    (tmp_path / "outside").mkdir()
    (sides.here / "link").symlink_to(tmp_path / "outside")
    assert sides.compare(BASE | {"link/file": "theirs"}).conflicts == ["link/file"]
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_becomes_a_folder(sides):
    edited = {name: text for name, text in BASE.items() if name != "a"} | {"a/inner": "i\n"}
    assert sides.pull(edited) == edited


def test_nothing_is_changed_when_content_is_missing(sides):
    found = sides.compare({"a": "x" * 400_000, "sub/c": "edited\n"})
    for key in [key for key in sides.store.objects if key.startswith(("packs/", "blobs/"))]:
        sides.store.delete(key)
    with pytest.raises(StoreError):
        bring(sides.store, sides.here, found.wanted)
    assert sides.now() == BASE
