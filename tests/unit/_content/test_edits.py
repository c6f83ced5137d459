"""What people change in a checkout becomes a tree: the code, with the changes in it and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dstack_core._content.edits import Edits
from dstack_core._content.entries import Tree
from dstack_core._content.scanning import scan_plain
from dstack_core._content.tree import load_tree, restore_tree, save_tree
from dstack_core._content.walk import root_bytes

CODE = {"a.py": "a", "sub/b.py": "b", "data.csv": "tracked, though it is ignored", ".gitignore": "*.csv\nbuild/\n"}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def code(tmp_path, memory_store) -> Tree:
    write(tmp_path / "code", CODE)
    (tmp_path / "code" / "link").symlink_to("a.py")
    return load_tree(memory_store, save_tree(memory_store, tmp_path / "code").digest)


@pytest.fixture
def edits(tmp_path, memory_store, code) -> Edits:
    restore_tree(memory_store, code.digest, tmp_path / "work")
    return Edits(memory_store, tmp_path / "work", code, lambda path: f"{path}/".startswith("out/"))


def kept(memory_store, edits: Edits, tmp_path: Path) -> dict[str, str]:
    """What the saved tree has, restored."""
    assert edits.digest
    target = tmp_path / "restored" / os.urandom(4).hex()
    target.parent.mkdir(exist_ok=True)
    restore_tree(memory_store, edits.digest, target)
    return {str(path.relative_to(target)): path.read_text() for path in target.rglob("*")
            if path.is_file() and not path.is_symlink()}  # fmt: skip


def test_unchanged_code_is_no_edit(edits):
    assert not edits.save()
    assert edits.digest is None


def test_changes_are_kept_and_the_rest_of_the_code_with_them(edits, tmp_path, memory_store):
    work = tmp_path / "work"
    write(work, {"a.py": "changed", "new/c.py": "new"})
    (work / "sub" / "b.py").unlink()
    (work / "link").unlink()
    (work / "link").symlink_to("new/c.py")
    assert edits.save()
    assert kept(memory_store, edits, tmp_path) == {
        "a.py": "changed", "new/c.py": "new", "data.csv": CODE["data.csv"], ".gitignore": CODE[".gitignore"],
    }  # fmt: skip
    tree = {entry.path: entry for entry in load_tree(memory_store, edits.digest)}
    assert tree["link"].target == "new/c.py"
    assert not edits.save(), "nothing since"


def test_ignored_files_are_no_code_unless_they_were_before(edits, tmp_path, memory_store):
    write(tmp_path / "work", {"build/o": "o", "other.csv": "ignored", "data.csv": "edited", "out/model": "artifact",
                              "__pycache__/a.pyc": "c", "sub/.ipynb_checkpoints/b.py": "b"})  # fmt: skip
    assert edits.save()
    found = kept(memory_store, edits, tmp_path)
    assert found.keys() == CODE.keys()
    assert found["data.csv"] == "edited"


def test_changes_that_are_undone_are_none(edits, tmp_path):
    write(tmp_path / "work", {"a.py": "changed"})
    assert edits.save()
    write(tmp_path / "work", {"a.py": "a"})
    assert edits.save()
    assert edits.digest is None


def test_only_whether_a_file_is_a_program_counts_of_its_mode(edits, tmp_path, memory_store):
    (tmp_path / "work" / "a.py").chmod(0o600)
    assert not edits.save()
    (tmp_path / "work" / "a.py").chmod(0o700)
    assert edits.save()
    (entry,) = (entry for entry in load_tree(memory_store, edits.digest) if entry.path == "a.py")
    assert entry.mode == 0o755


def test_a_file_that_is_a_folder_now_and_the_other_way_round(edits, tmp_path, memory_store):
    work = tmp_path / "work"
    (work / "a.py").unlink()
    (work / "sub" / "b.py").unlink()
    (work / "sub").rmdir()
    write(work, {"a.py/inner": "i", "sub": "s"})
    assert edits.save()
    found = kept(memory_store, edits, tmp_path)
    assert (found["a.py/inner"], found["sub"]) == ("i", "s")
    assert "sub/b.py" not in found


def test_what_an_ignore_file_leaves_out_is_found_when_it_is_asked_for(tmp_path):
    write(tmp_path, {".gitignore": "*", "a": "1", "b": "2"})
    tree = scan_plain(root_bytes(tmp_path), [b"b", b"gone", b"b/not/there"]).tree
    assert [entry.path for entry in tree if entry.kind == "file"] == ["b"]
