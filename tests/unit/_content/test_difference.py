"""The difference of two trees applies to one and gives the other, whatever is in them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._content.checkout import check_out
from dstack_core._content.difference import changes, diff, local_side, stored_side
from dstack_core._content.snapshot import scan_snapshot, store_snapshot
from dstack_core._content.tree import load_tree, save_tree
from dstack_core.errors import ConflictError, NotFoundError, StoreError

# Spaces inside only: git cannot read its own patch of an empty file whose name begins or ends with one.
NAME = st.text('abc.é \\"\n\t', min_size=1, max_size=4).filter(
    lambda n: n.strip(".") and n == n.strip(" ") and n != ".git"
)
TEXT = st.one_of(st.text("ab\n\r", max_size=12).map(str.encode), st.binary(max_size=12))
FILES = st.dictionaries(st.tuples(NAME, NAME), st.tuples(TEXT, st.booleans()), max_size=5)


def write(folder, files):
    folder.mkdir()
    for (above, name), (data, executable) in files.items():
        (folder / above).mkdir(exist_ok=True)
        (folder / above / name).write_bytes(data)
        (folder / above / name).chmod(0o755 if executable else 0o644)


def content(folder):
    return {
        os.fsencode(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mode & 0o100)
        for p in folder.rglob("*")
        if p.is_file()
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(old=FILES, new=FILES)
def test_the_patch_leads_from_one_to_the_other(memory_store, tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("diff")
    write(folder / "old", old)
    write(folder / "new", new)
    trees = [load_tree(memory_store, save_tree(memory_store, folder / side).digest) for side in ("old", "new")]
    found = changes(*trees)
    before = stored_side(memory_store, trees[0])
    for after in (stored_side(memory_store, trees[1]), local_side(folder / "new", trees[1])):
        patch = b"".join(diff(before, after, found, stat=False, colours=False)) if found else b""
        assert bool(patch) == (content(folder / "old") != content(folder / "new"))
    binary = b"Binary files" in patch
    if patch and not binary:
        shutil.copytree(folder / "old", folder / "patched")
        subprocess.run(["git", "apply", "--whitespace=nowarn"], cwd=folder / "patched", input=patch, check=True)
        assert content(folder / "patched") == content(folder / "new")


@pytest.fixture
def code(tmp_path):
    root = tmp_path / "code"
    (root / "src").mkdir(parents=True)
    (root / "src" / "train.py").write_text("one\ntwo\nthree\n")
    (root / "data.bin").write_bytes(b"\0" * 100)
    (root / "link").symlink_to("src")
    return root


def test_as_git_shows_it(memory_store, code):
    tree = save_code(memory_store, code)
    (code / "src" / "train.py").write_text("one\n2\nthree\n")
    (code / "src" / "new.py").write_text("new\n")
    (code / "data.bin").write_bytes(b"\0" * 99)
    (code / "link").unlink()
    (code / "link").symlink_to("elsewhere")
    (code / ".gitattributes").write_text("*.py -diff\n")
    now = scan_snapshot(code).tree
    found = changes(tree, now)
    assert [(c.path, c.how) for c in found] == [
        (".gitattributes", "added"),
        ("data.bin", "changed"),
        ("link", "changed"),
        ("src/new.py", "added"),
        ("src/train.py", "changed"),
    ]
    sides = (stored_side(memory_store, tree), local_side(code, now), found)
    text = b"".join(diff(*sides, stat=False, colours=False)).decode()
    assert "--- a/src/train.py\n+++ b/src/train.py\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n" in text
    assert "Binary files a/data.bin and b/data.bin differ" in text
    assert "-src\n" in text
    assert "+elsewhere\n" in text
    stat = b"".join(diff(*sides, stat=True, colours=False)).decode()
    assert " src/train.py " in stat
    assert "Bin 100 -> 99 bytes" in stat
    assert "5 files changed" in stat
    assert b"\x1b[" in b"".join(diff(*sides, stat=False, colours=True))


def test_nobodys_configuration_has_a_say(memory_store, code, tmp_path, monkeypatch):
    tree = save_code(memory_store, code)
    (code / "src" / "train.py").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (code / ".gitattributes").write_text("*.py text eol=lf filter=evil diff=evil\n")
    config = f'[core]\nautocrlf = true\n[filter "evil"]\nclean = touch {tmp_path}/ran\n[diff "evil"]\n'
    (tmp_path / "config").write_text(f"{config}command = touch {tmp_path}/ran\ntextconv = touch {tmp_path}/ran\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {tmp_path}/ran")
    now = scan_snapshot(code).tree
    found = changes(tree, now)
    text = b"".join(diff(stored_side(memory_store, tree), local_side(code, now), found, stat=False, colours=False))
    assert b"+one\r\n" in text
    assert not (tmp_path / "ran").exists()


def save_code(store, code):
    snapshot = scan_snapshot(code)
    store_snapshot(store, code, snapshot)
    return load_tree(store, snapshot.digest)


@pytest.mark.parametrize("there", [True, False])
def test_check_out_is_all_of_it(memory_store, code, tmp_path, there):
    tree = save_code(memory_store, code)
    target = tmp_path / "a" / "copy"
    if there:
        target.mkdir(parents=True)
        inode = target.stat().st_ino
    check_out(memory_store, tree.digest, target)
    assert content(target) == content(code)
    assert os.readlink(target / "link") == "src"
    assert sorted(os.listdir(target.parent)) == ["copy"]
    assert sorted(os.listdir(target)) == sorted(os.listdir(code))
    assert not there or target.stat().st_ino == inode


@pytest.mark.parametrize("there", [True, False])
def test_check_out_of_what_is_damaged_leaves_nothing(memory_store, code, tmp_path, there):
    (code / "big").write_bytes(os.urandom(500_000))
    tree = save_code(memory_store, code)
    (big,) = (e for e in tree if e.path == "big")
    memory_store.objects[f"blobs/{big.extents[0].object[:2]}/{big.extents[0].object}"] = b"\0" * 500_000
    target = tmp_path / "a" / "copy"
    (target if there else target.parent).mkdir(parents=True)
    with pytest.raises(StoreError, match="big"):
        check_out(memory_store, tree.digest, target)
    assert os.listdir(target.parent) == (["copy"] if there else [])
    assert not there or os.listdir(target) == []
    with pytest.raises(NotFoundError):
        check_out(memory_store, "0" * 64, target)


def test_check_out_replaces_nothing(memory_store, code, tmp_path):
    tree = save_code(memory_store, code)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("full", "file", "dangling"):
        with pytest.raises(ConflictError):
            check_out(memory_store, tree.digest, tmp_path / name)
    assert os.listdir(tmp_path / "full") == ["mine"]
