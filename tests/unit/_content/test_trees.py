"""Trees come back as they were saved: names, kinds, modes, links, contents; and cost no more writes than needed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._content import reading, saving, storing
from dstack_core._content.entries import PART
from dstack_core._content.tree import check_tree, load_tree, restore_tree, save_tree
from dstack_core.errors import JobError, NotFoundError

IS_ROOT = os.geteuid() == 0


def facts(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything about a tree that must survive, seen with other eyes than the code under test."""
    found: dict[bytes, tuple[object, ...]] = {}

    def look(path: bytes) -> None:
        status = os.lstat(path)
        name = os.path.relpath(path, os.fsencode(root))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("dir", stat.S_IMODE(status.st_mode))
            for child in os.listdir(path):
                look(os.path.join(path, child))
        else:
            with open(path, "rb") as f:
                found[name] = ("file", stat.S_IMODE(status.st_mode), f.read())

    look(os.fsencode(root))
    return found


names = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"a", b"b", b"a-b", "\u00e9".encode(), "e\u0301".encode(), b"x\ny", b" ", b"-rf", b"n" * 255]),
).filter(lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b".."))
leaves = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=3000), st.sampled_from([0o644, 0o755, 0o600, 0o444, 0o777])),
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=30).filter(lambda t: b"\0" not in t)),
)
folders = st.recursive(
    st.dictionaries(names, leaves, max_size=4),
    lambda inner: st.dictionaries(names, st.one_of(leaves, inner), max_size=4),
    max_leaves=12,
)


def build(root: bytes, content: dict[bytes, object]) -> None:
    os.mkdir(root)
    for name, what in content.items():
        path = os.path.join(root, name)
        if isinstance(what, dict):
            build(path, what)
        elif what[0] == "link":
            os.symlink(what[1], path)
        else:
            with open(path, "wb") as f:
                f.write(what[1])
            os.chmod(path, what[2])
    os.chmod(root, 0o750)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=folders, inline=st.sampled_from([0, 4096]), alone=st.sampled_from([0, 2]))
def test_any_tree_comes_back(memory_store, content, inline, alone):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "INLINE_LIMIT", inline)
        patch.setattr(storing, "_ALONE", alone)
        source, target = Path(folder, "s"), Path(folder, "t")
        build(os.fsencode(source), content)
        saved = save_tree(memory_store, source)
        assert not saved.warnings
        restore_tree(memory_store, saved.digest, target)
        assert facts(target) == facts(source)
        assert save_tree(memory_store, target).digest == saved.digest
        assert check_tree(memory_store, saved.digest) == []


def small_tree(root: Path, count: int = 30, size: int = 500) -> Path:
    for i in range(count):
        path = root / f"d{i % 3}" / f"f{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{i} ".encode() * size)
    return root


def test_packs_parts_and_everything_between(store, tmp_path):
    source = small_tree(tmp_path / "s")
    (source / "empty").mkdir()
    (source / "nothing").touch()
    (source / "middle").write_bytes(os.urandom(300_000))
    (source / "one part").write_bytes(b"p" * PART)
    (source / "more").write_bytes(os.urandom(1000) * 20_000)
    saved = save_tree(store, source)
    assert saved.files == 34
    assert saved.size == sum(len(f[2]) for f in facts(source).values() if f[0] == "file")
    restore_tree(store, saved.digest, tmp_path / "t")
    assert facts(tmp_path / "t") == facts(source)


def test_a_tree_of_one_file_or_one_link(store, tmp_path):
    (tmp_path / "f").write_bytes(b"content" * 1000)
    (tmp_path / "f").chmod(0o640)
    (tmp_path / "l").symlink_to("/nowhere")
    restore_tree(store, save_tree(store, tmp_path / "f").digest, tmp_path / "deep" / "er" / "g")
    assert facts(tmp_path / "deep" / "er" / "g") == facts(tmp_path / "f")
    saved = save_tree(store, tmp_path / "l")
    assert "is a link" in saved.warnings[0]
    restore_tree(store, saved.digest, tmp_path / "m")
    assert os.readlink(tmp_path / "m") == "/nowhere"


def test_equal_files_are_stored_once(memory_store, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "s" / name).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "s" / name / f"{i}").write_bytes(bytes([i]) * 10_000)
        (tmp_path / "s" / name / "big").write_bytes(b"big" * 200_000)
    save_tree(memory_store, tmp_path / "s")
    stored = sum(len(d) for k, d in memory_store.objects.items() if k.startswith("blobs/"))
    assert stored == 20 * 10_000 + 600_000
    (tmp_path / "s" / "d").mkdir()
    for i in range(10, 30):
        (tmp_path / "s" / "d" / f"{i}").write_bytes(bytes([i]) * 10_000)
    assert save_tree(memory_store, tmp_path / "s").new_bytes == 10 * 10_000


def test_what_another_machine_stored_is_not_stored_again(memory_store, tmp_path, monkeypatch):
    small_tree(tmp_path / "s", 100, 600)
    save_tree(memory_store, tmp_path / "s")
    shutil.copytree(tmp_path / "s", tmp_path / "other" / "inside")
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "other home"))
    storing._refreshed.clear()
    assert save_tree(memory_store, tmp_path / "other").new_bytes == 0


@pytest.mark.parametrize("damage", [b"", b"rubbish" * 100])
def test_a_damaged_memory_of_packs_is_made_again(memory_store, tmp_path, home, damage):
    small_tree(tmp_path / "s", 100, 600)
    save_tree(memory_store, tmp_path / "s", cache=False)
    (file,) = home.glob("cache/*/packs.sqlite")
    for leftover in file.parent.glob("packs.sqlite*"):
        leftover.unlink()
    file.write_bytes(damage)
    (tmp_path / "s" / "new").write_bytes(b"n" * 100_000)
    save_tree(memory_store, tmp_path / "s", cache=False)
    storing._refreshed.clear()
    (tmp_path / "s" / "newer").write_bytes(b"m" * 100_000)
    saved = save_tree(memory_store, tmp_path / "s", cache=False)
    assert saved.new_bytes == 100_000
    assert check_tree(memory_store, saved.digest) == []


def test_a_pack_that_is_gone_is_stored_again(memory_store, tmp_path):
    small_tree(tmp_path / "s", 100, 600)
    first = save_tree(memory_store, tmp_path / "s", cache=False)
    for key in list(memory_store.objects):
        if key.startswith("blobs/"):
            memory_store.delete(key)
    again = save_tree(memory_store, tmp_path / "s", cache=False)
    assert again.digest == first.digest
    assert check_tree(memory_store, again.digest) == []


def test_small_results_cost_few_writes(memory_store, tmp_path, home):
    (tmp_path / "empty").mkdir()
    save_tree(memory_store, tmp_path / "empty")
    assert len(memory_store.calls) == 1
    (tmp_path / "empty" / "metrics.json").write_text('{"accuracy": 0.97}')
    save_tree(memory_store, tmp_path / "empty")
    assert len(memory_store.calls) == 2
    (tmp_path / "empty" / "model.bin").write_bytes(b"m" * 20_000)
    save_tree(memory_store, tmp_path / "empty")
    assert len(memory_store.writes()) == 5
    assert not any(home.rglob("*")), "nothing is remembered for so little"


def test_the_manifest_is_written_last(memory_store, tmp_path):
    small_tree(tmp_path / "s", 100, 600)
    (tmp_path / "s" / "large").write_bytes(os.urandom(PART + 1))
    saved = save_tree(memory_store, tmp_path / "s")
    assert memory_store.writes()[-1].endswith(saved.digest)
    assert [w.split("/")[0] for w in memory_store.writes()].count("trees") == 1


def test_the_digest_is_of_names_modes_and_contents_alone(memory_store, tmp_path):
    source = small_tree(tmp_path / "s")
    digest = save_tree(memory_store, source).digest
    shutil.copytree(source, tmp_path / "t")
    os.utime(tmp_path / "t" / "d0" / "f0", (1, 1))
    assert save_tree(memory_store, tmp_path / "t").digest == digest
    (tmp_path / "t" / "d0" / "f0").chmod(0o755)
    assert save_tree(memory_store, tmp_path / "t").digest != digest
    (tmp_path / "t" / "d0" / "f0").chmod(0o644)
    (tmp_path / "t" / "d0").chmod(0o700)
    assert save_tree(memory_store, tmp_path / "t").digest != digest


def test_setuid_is_dropped(memory_store, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "f").touch()
    (tmp_path / "s" / "f").chmod(0o4755)
    restore_tree(memory_store, save_tree(memory_store, tmp_path / "s").digest, tmp_path / "t")
    assert stat.S_IMODE((tmp_path / "t" / "f").stat().st_mode) == 0o755


def test_a_folder_that_nobody_can_write_to_is_restored_with_its_files(memory_store, tmp_path):
    (tmp_path / "s" / "d" / "e").mkdir(parents=True)
    (tmp_path / "s" / "d" / "e" / "f").write_text("x")
    (tmp_path / "s" / "d" / "e").chmod(0o500)
    (tmp_path / "s" / "d").chmod(0o555)
    restore_tree(memory_store, save_tree(memory_store, tmp_path / "s").digest, tmp_path / "t")
    assert facts(tmp_path / "t") == facts(tmp_path / "s")
    for root in ("s", "t"):
        (tmp_path / root / "d").chmod(0o700)
        (tmp_path / root / "d" / "e").chmod(0o700)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(memory_store, tmp_path, umask):
    source = small_tree(tmp_path / "s", 4)
    for i, mode in enumerate((0o666, 0o777, 0o604, 0o400)):
        (source / f"d{i % 3}" / f"f{i}").chmod(mode)
    digest = save_tree(memory_store, source).digest
    before = os.umask(umask)
    try:
        restore_tree(memory_store, digest, tmp_path / "t")
    finally:
        os.umask(before)
    assert facts(tmp_path / "t") == facts(source)


def test_what_is_no_file_is_named_and_never_opened(memory_store, tmp_path):
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / "s" / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s" / "socket"))
    (tmp_path / "s" / "file").write_text("x")
    saved = save_tree(memory_store, tmp_path / "s")
    listener.close()
    assert sorted(saved.warnings) == ["pipe is a pipe: not saved", "socket is a socket: not saved"]
    assert [e.path for e in load_tree(memory_store, saved.digest)] == ["", "file"]


def test_links_are_never_followed(memory_store, tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    for name, target in (("loop", "loop"), ("up", ".."), ("root", "/"), ("dangling", "no/thing")):
        (source / name).symlink_to(target)
    saved = save_tree(memory_store, source)
    assert (saved.files, saved.size) == (0, 0)
    restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert facts(tmp_path / "t") == facts(source)


def test_hard_links_are_equal_files(memory_store, tmp_path):
    source = small_tree(tmp_path / "s", 1, 5000)
    for i in range(50):
        os.link(source / "d0" / "f0", source / f"l{i}")
    saved = save_tree(memory_store, source)
    assert saved.new_bytes == 10_000
    restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert facts(tmp_path / "t") == facts(source)


def test_holes_take_no_room(store, tmp_path):
    source = tmp_path / "s"
    source.mkdir()
    with (source / "sparse").open("wb") as f:
        f.seek(3 * PART + 5)
        f.write(b"data")
        f.truncate(20 * PART + 7)
    saved = save_tree(store, source)
    assert saved.size == 20 * PART + 7
    assert saved.new_bytes <= PART + 7
    restore_tree(store, saved.digest, tmp_path / "t")
    assert (tmp_path / "t" / "sparse").stat().st_blocks * 512 <= 2 * PART
    with (source / "sparse").open("rb") as a, (tmp_path / "t" / "sparse").open("rb") as b:
        while chunk := a.read(1 << 24):
            assert b.read(1 << 24) == chunk
        assert not b.read()
    assert check_tree(store, saved.digest) == []


def test_zeros_are_equal_to_holes(memory_store, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "f").write_bytes(bytes(2 * PART))
    with (tmp_path / "b" / "f").open("wb") as f:
        f.truncate(2 * PART)
    assert save_tree(memory_store, tmp_path / "a").digest == save_tree(memory_store, tmp_path / "b").digest


def test_prefixes_of_names_are_not_names(memory_store, tmp_path):
    for name in ("model", "model2"):
        (tmp_path / "s" / name).mkdir(parents=True)
        (tmp_path / "s" / name / "f").write_text(name)
    tree = load_tree(memory_store, save_tree(memory_store, tmp_path / "s").digest)
    assert [e.path for e in tree.subtree("model")] == ["", "f"]
    assert [e.path for e in tree.subtree("mode")] == []
    assert tree.subtree("model").digest == save_tree(memory_store, tmp_path / "s" / "model").digest


def test_excluded_folders_are_not_entered(memory_store, tmp_path):
    source = small_tree(tmp_path / "s")
    saved = save_tree(memory_store, source, exclude=lambda path, folder: folder and path == "d1")
    assert {e.path.split("/")[0] for e in load_tree(memory_store, saved.digest)} == {"", "d0", "d2"}


def test_progress_ends_at_the_size(store, tmp_path):
    source = small_tree(tmp_path / "s", 50, 2000)
    (source / "large").write_bytes(os.urandom(PART * 2))
    seen: list[tuple[int, int]] = []
    saved = save_tree(store, source, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (saved.size, saved.size)
    assert seen == sorted(seen)
    seen.clear()
    restore_tree(store, saved.digest, tmp_path / "t", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (saved.size, saved.size)


def test_a_restore_of_one_large_file_can_be_broken_off(store, tmp_path):
    """Whoever follows its progress need not wait for the rest of it."""
    (tmp_path / "s").mkdir()
    with open(tmp_path / "s" / "f", "wb") as file:
        for i in range(5):
            file.write(bytes([i + 1]) * PART)
    saved = save_tree(store, tmp_path / "s", cache=False)
    seen: list[int] = []

    def stop(done, total):
        seen.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_tree(store, saved.digest, tmp_path / "t", stop)
    assert seen[0] == PART
    assert os.listdir(tmp_path / "t") == []


def test_nothing_there(memory_store, tmp_path):
    with pytest.raises(JobError, match="nowhere"):
        save_tree(memory_store, tmp_path / "nowhere")
    with pytest.raises(NotFoundError):
        load_tree(memory_store, "0" * 64)


# --- files that change ---


@pytest.mark.parametrize("size", [2000, 400_000, PART * 2])
def test_a_file_that_changes_all_the_time_is_named(memory_store, tmp_path, monkeypatch, size):
    (tmp_path / "s").mkdir()
    busy = tmp_path / "s" / "busy"
    busy.write_bytes(os.urandom(size))

    def disturb(read):
        def disturbed(*args):
            result = read(*args)
            with busy.open("r+b") as f:
                f.write(os.urandom(8))
            return result

        return disturbed

    with monkeypatch.context() as patch:
        patch.setattr(storing, "read_hashed", disturb(storing.read_hashed))
        patch.setattr(reading, "read_range", disturb(reading.read_range))
        patch.setattr(reading.os, "read", disturb(os.read))
        with pytest.raises(JobError, match=r"busy.*changes"):
            save_tree(memory_store, tmp_path / "s", cache=False)
        assert not any(k.startswith("trees/") for k in memory_store.objects)
        saved = save_tree(memory_store, tmp_path / "s", tolerant=True)
        assert "busy" in saved.warnings[0]
        assert saved.files == 0
    assert save_tree(memory_store, tmp_path / "s", cache=False).files == 1


def test_a_file_that_changes_once_is_saved_as_it_is_then(memory_store, tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    file = tmp_path / "s" / "f"
    file.write_bytes(b"a" * 400_000)
    real = storing.read_hashed
    changes = [b"bb", b"cc"]

    def grow(*args):
        result = real(*args)
        if changes:
            with file.open("ab") as f:
                f.write(changes.pop())
        return result

    monkeypatch.setattr(storing, "read_hashed", grow)
    saved = save_tree(memory_store, tmp_path / "s")
    restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert (tmp_path / "t" / "f").read_bytes() == file.read_bytes() == b"a" * 400_000 + b"ccbb"


def test_what_is_hashed_is_what_is_stored(memory_store, tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    file = tmp_path / "s" / "f"
    file.write_bytes(b"before" * 100_000)
    write = memory_store.write

    def change(key, data, expect):
        if file.stat().st_size > 1000:
            file.write_bytes(b"after")
        return write(key, data, expect)

    monkeypatch.setattr(memory_store, "write", change)
    saved = save_tree(memory_store, tmp_path / "s")
    restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert (tmp_path / "t" / "f").read_bytes() == b"after"


def test_a_file_that_may_not_be_read_is_named(memory_store, tmp_path, monkeypatch):
    source = small_tree(tmp_path / "s")
    (source / "d0" / "f0").chmod(0)
    if IS_ROOT:  # who may read everything
        real = os.open

        def refuse(path, *args, **kwargs):
            if path.endswith(b"d0/f0"):
                raise PermissionError(13, "Permission denied")
            return real(path, *args, **kwargs)

        monkeypatch.setattr(reading.os, "open", refuse)
    with pytest.raises(JobError, match=r"d0/f0.*ermission"):
        save_tree(memory_store, source)
    assert "d0/f0" in save_tree(memory_store, source, tolerant=True).warnings[0]


def test_a_file_that_vanishes_is_named(memory_store, tmp_path, monkeypatch):
    source = small_tree(tmp_path / "s")
    find = saving.find

    def find_then_remove(root, exclude):
        found = find(root, exclude)
        (source / "d0" / "f0").unlink()
        (source / "d0" / "f3").unlink()
        os.mkfifo(source / "d0" / "f3")
        (source / "d0" / "f6").unlink()
        (source / "d0" / "f6").symlink_to("/etc/passwd")
        return found

    monkeypatch.setattr(saving, "find", find_then_remove)
    saved = save_tree(memory_store, source)
    assert sorted(saved.warnings) == [
        "d0/f0 vanished: not saved",
        "d0/f3 is now a pipe: not saved",
        "d0/f6 is now a link: not saved",
    ]
    assert saved.files == 27


# --- saving the same again ---


def age(root: Path) -> None:
    """Wait until the files are old enough to be relied on."""
    import time

    newest = max(p.lstat().st_ctime_ns for p in root.rglob("*"))
    while time.time_ns() <= newest + 150_000_000:
        time.sleep(0.01)


def test_the_same_again_reads_and_writes_nothing(memory_store, tmp_path, monkeypatch):
    source = small_tree(tmp_path / "s", 300)
    age(source)
    first = save_tree(memory_store, source)
    memory_store.calls.clear()
    monkeypatch.setattr(saving, "read_small", None)
    again = save_tree(memory_store, source)
    assert (again.digest, again.files, again.size, again.new_bytes) == (first.digest, first.files, first.size, 0)
    assert memory_store.writes() == []


def test_only_what_changed_is_read_again(memory_store, tmp_path, monkeypatch):
    source = small_tree(tmp_path / "s", 300)
    age(source)
    save_tree(memory_store, source)
    status = (source / "d0" / "f0").stat()
    (source / "d0" / "f0").write_bytes(b"9 " * 500)
    os.utime(source / "d0" / "f0", ns=(status.st_atime_ns, status.st_mtime_ns))
    (source / "d1" / "f1").chmod(0o600)
    read: list[bytes] = []
    real = saving.read_small
    monkeypatch.setattr(saving, "read_small", lambda path, stamp: read.append(path) or real(path, stamp))
    saved = save_tree(memory_store, source)
    assert sorted(os.path.basename(p) for p in read) == [b"f0", b"f1"]
    restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert facts(tmp_path / "t") == facts(source)


def test_a_file_written_in_the_same_moment_is_read_again(memory_store, tmp_path):
    source = small_tree(tmp_path / "s", 300)
    for i in range(20):  # same size, as soon after the save as can be
        (source / "d0" / "f0").write_bytes(b"%03d" % i)
        saved = save_tree(memory_store, source)
        restore_tree(memory_store, saved.digest, tmp_path / f"t{i}")
        assert (tmp_path / f"t{i}" / "d0" / "f0").read_bytes() == b"%03d" % i


def test_a_name_that_comes_or_goes_in_the_same_moment_is_seen(memory_store, tmp_path):
    source = small_tree(tmp_path / "s", 300)
    age(source)
    for i in range(20):
        (source / "d0" / f"new{i}").mkdir()
        names = {e.path for e in load_tree(memory_store, save_tree(memory_store, source).digest)}
        assert f"d0/new{i}" in names
        (source / "d0" / f"new{i}").rmdir()
        names = {e.path for e in load_tree(memory_store, save_tree(memory_store, source).digest)}
        assert f"d0/new{i}" not in names


def test_a_link_that_leads_elsewhere_is_seen(memory_store, tmp_path):
    source = small_tree(tmp_path / "s", 300)
    (source / "link").symlink_to("d0")
    age(source)
    save_tree(memory_store, source)
    (source / "link").unlink()
    (source / "link").symlink_to("d1")
    entries = {e.path: e for e in load_tree(memory_store, save_tree(memory_store, source).digest)}
    assert entries["link"].target == "d1"


def test_what_is_left_out_is_told_each_time(memory_store, tmp_path, monkeypatch):
    source = small_tree(tmp_path / "s", 300)
    os.mkfifo(source / "pipe")
    age(source)
    first = save_tree(memory_store, source)
    monkeypatch.setattr(saving, "find", None)
    assert save_tree(memory_store, source).warnings == first.warnings == ("pipe is a pipe: not saved",)


def test_one_large_file_that_is_replaced_is_seen(memory_store, tmp_path):
    (tmp_path / "f").write_bytes(b"a" * 9_000_000)
    age(tmp_path)
    first = save_tree(memory_store, tmp_path / "f")
    assert save_tree(memory_store, tmp_path / "f") == dataclasses.replace(first, new_bytes=0)
    (tmp_path / "g").write_bytes(b"b" * 9_000_000)
    (tmp_path / "g").rename(tmp_path / "f")
    assert save_tree(memory_store, tmp_path / "f").digest != first.digest


def test_what_the_store_lost_is_stored_again_though_nothing_changed(memory_store, tmp_path):
    source = small_tree(tmp_path / "s", 300)
    age(source)
    save_tree(memory_store, source)
    memory_store.objects.clear()
    saved = save_tree(memory_store, source)
    assert check_tree(memory_store, saved.digest) == []


def test_savers_of_the_same_do_not_disturb_each_other(store, tmp_path):
    source = small_tree(tmp_path / "s", 300)
    (source / "large").write_bytes(os.urandom(PART + 100))
    digests: list[str] = []
    barrier = threading.Barrier(8)

    def save() -> None:
        barrier.wait()
        digests.append(save_tree(store, source).digest)

    threads = [threading.Thread(target=save) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(digests) == 8
    assert len(set(digests)) == 1
    assert check_tree(store, digests[0]) == []
