"""The folder store beyond the contract: privacy, foreign files, old temporary files, full disks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dstack_local.durable import create_private
from dstack_local.store import FolderStore

from dstack_core.artifact_store import ABSENT
from dstack_core.errors import ConflictError, NotFoundError, StoreError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore({"path": str(root)})


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_default_folder_is_in_the_dstack_folder(home: Path) -> None:
    assert FolderStore({}).location == str(home.resolve() / "store")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FolderStore({"path": "~/s"}).location == str(tmp_path / "s")


def test_reading_makes_nothing(root: Path, store: FolderStore) -> None:
    assert list(store.list("")) == []
    assert not store.exists("a")
    store.delete("a/b")
    with pytest.raises(NotFoundError):
        store.read("a")
    assert not root.exists()


@pytest.mark.usefixtures("umask")
def test_everything_is_the_owner_s_alone(root: Path, store: FolderStore) -> None:
    store.write("a/b/c", b"x")
    store.write("a/b/c", b"y")
    store.append("l/o/g", b"x", 0)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.", "ä", "a b", "a\n", "a\0b",
                                 "a\\b", "a,b", "x" * 256, "/".join(["a"] * 257)])  # fmt: skip
def test_what_is_no_key_is_refused(root: Path, store: FolderStore, key: str) -> None:
    for operation in (store.read, store.delete, store.exists, store.path, lambda k: store.write(k, b"")):
        with pytest.raises(StoreError, match="not a key"):
            operation(key)
    assert not root.exists()


def test_foreign_files_are_no_objects(root: Path, store: FolderStore) -> None:
    store.write("k/a", b"x")
    objects = root / "objects" / "k"
    for name in ("with space", ".DS_Store~", "ünicode", "new\nline"):
        (objects / name).touch()
    (objects / "link").symlink_to(objects / "a")
    (objects / "dangling").symlink_to(objects / "nothing")
    (objects / "folder!").mkdir()
    (objects / "folder!" / "x").touch()
    os.mkfifo(objects / "pipe")
    assert [o.key for o in store.list("")] == ["k/a"]


def test_a_key_in_the_way_is_an_error(store: FolderStore) -> None:
    store.write("a", b"x")
    store.write("b/c", b"x")
    for key in ("a/b", "b"):
        with pytest.raises(StoreError):
            store.write(key, b"y")
    assert [o.key for o in store.list("")] == ["a", "b/c"]
    assert store.read("a").data == b"x"


def test_empty_folders_go(root: Path, store: FolderStore) -> None:
    store.write("a/b/c/d", b"")
    store.write("a/e", b"")
    store.delete("a/b/c/d")
    assert [p.name for p in (root / "objects").rglob("*")] == ["a", "e"]


def test_a_deleter_does_not_take_a_writer_s_folder(store: FolderStore) -> None:
    code = (
        "import sys; from dstack_local.store import FolderStore; s = FolderStore({'path': sys.argv[1]})\n"
        "for n in range(300): s.write('x/y/' + sys.argv[2], b''); s.delete('x/y/' + sys.argv[2])"
    )
    command = [sys.executable, "-c", code, store.location]
    processes = [subprocess.Popen([*command, name]) for name in ("one", "two", "three")]
    assert [p.wait() for p in processes] == [0, 0, 0]
    assert list(store.list("")) == []


def test_old_temporary_files_go(root: Path, store: FolderStore) -> None:
    store.write("a", b"")
    hour_ago = time.time() - 3600
    left, young, held = (root / "tmp" / name for name in ("left", "young", "held"))
    for path in (left, young, held):
        path.write_bytes(b"x")
    os.utime(left, (hour_ago, hour_ago))
    os.utime(held, (hour_ago, hour_ago))
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdin
    assert writer.stdout
    writer.stdout.readline()
    FolderStore({"path": str(root)}).write("b", b"")
    writer.communicate()
    assert sorted(p.name for p in (root / "tmp").iterdir()) == ["held", "young"]


def test_a_write_leaves_no_temporary_file(root: Path, store: FolderStore) -> None:
    version = store.write("a", b"1")
    with pytest.raises(ConflictError):
        store.write("a", b"2", "0" * 64)
    with pytest.raises(ConflictError):
        store.write("a", b"2", ABSENT)
    store.write("a", b"2", version)
    assert list((root / "tmp").iterdir()) == []


def test_a_version_is_of_the_content(store: FolderStore) -> None:
    assert store.write("a", b"same") == store.write("b", b"same") == store.read("a").version


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_says_so_and_keeps_the_old(small_disk: Path) -> None:
    store = FolderStore({"path": str(small_disk)})
    version = store.write("k/a", b"old")
    with pytest.raises(StoreError, match="No space left") as failure:
        store.write("k/a", b"n" * (1 << 20), version)
    assert failure.value.hint
    with pytest.raises(StoreError, match="No space left"):
        store.write("k/b", b"n" * (1 << 20), ABSENT)
    with pytest.raises(StoreError, match="No space left"):
        store.append("log", b"n" * (1 << 20), 0)
    assert [(o.key, o.size) for o in store.list("")] == [("k/a", 3), ("log", 0)]
    assert list((small_disk / "tmp").iterdir()) == []
    store.append("log", b"fits", 0)
    store.write("k/a", b"newer", version)


def test_a_private_file_is_never_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(FileExistsError):
        create_private(str(tmp_path / "there"))


def test_the_module_is_light() -> None:
    code = "import sys, dstack_local.store; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"pydantic", "logging", "asyncio", "subprocess", "tempfile", "click", "yaml", "concurrent.futures"}
    assert not heavy.intersection(modules)
