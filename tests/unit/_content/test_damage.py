"""Damage and malice: every wrong byte is found and names the file, no manifest makes a restore write elsewhere, and a
saver that dies at any moment leaves no tree that names what is not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._content import reading, saving, storing
from dstack_core._content.damage import KnownDamage
from dstack_core._content.entries import PACK_LIMIT, PART, Extent, Tree, TreeEntry, blob_key, tree_key
from dstack_core._content.manifest import decode_tree, encode_tree
from dstack_core._content.packs import decode_index, encode_index
from dstack_core._content.snapshot import scan_snapshot, store_snapshot
from dstack_core._content.tree import check_tree, load_tree, restore_tree, save_tree
from dstack_core.errors import DstackError, StoreError


def make(root: Path) -> Path:
    root.mkdir()
    for i in range(8):
        (root / f"small{i}").write_bytes(b"%d" % i * (300 + i))
    (root / "large").write_bytes(b"large" * 60_000)
    (root / "d").mkdir()
    (root / "d" / "link").symlink_to("../small0")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink()}


def damage(data: bytes, at: int, how: str) -> bytes:
    if how == "flip":
        return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
    if how == "cut":
        return data[:at]
    return data[:at] + data[at + 1 :]


@pytest.mark.parametrize("how", ["flip", "cut", "drop"])
def test_every_damaged_byte_is_found(memory_store, tmp_path, how):
    source = make(tmp_path / "s")
    saved = save_tree(memory_store, source)
    whole = dict(memory_store.objects)
    good = contents(source)
    tree = load_tree(memory_store, saved.digest)
    files_of: dict[str, set[str]] = {}
    for entry in tree:
        for extent in entry.extents:
            files_of.setdefault(blob_key(extent.object), set()).add(entry.path)
    chance = random.Random(how)
    for key, data in whole.items():
        if key.startswith("packs/"):
            continue
        for at in {0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(60))}:
            memory_store.objects = {**whole, key: damage(data, at, how)}
            target = tmp_path / f"t{at}-{key[-8:]}"
            message = ""
            try:
                restore_tree(memory_store, saved.digest, target)
            except DstackError as error:
                message = str(error)
            if key.startswith("blobs/"):
                wrong = set(good) - set(contents(target))
                assert wrong
                assert wrong <= files_of[key]
                assert all(name in message for name in wrong)
                assert key.rpartition("/")[2] in message
                assert {p.path for p in check_tree(memory_store, saved.digest)} == wrong
            elif not message:
                # Only bytes that say nothing, such as an object that is named in vain, may be damaged in silence.
                assert contents(target) == good
            if target.exists():
                assert all(good[name] == data for name, data in contents(target).items())
    memory_store.objects = whole
    assert check_tree(memory_store, saved.digest) == []


def test_damage_of_inline_files_is_found(memory_store, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "f").write_bytes(b"inline")
    saved = save_tree(memory_store, tmp_path / "s")
    key = tree_key(saved.digest)
    memory_store.objects[key] = memory_store.objects[key].replace(b'"aW5saW5l"', b'"aW5saW5m"')
    with pytest.raises(StoreError, match="f: its bytes are damaged"):
        restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert not (tmp_path / "t" / "f").exists()


def test_a_missing_object_names_its_files_and_the_others_are_restored(store, tmp_path):
    source = make(tmp_path / "s")
    (source / "two parts").write_bytes(os.urandom(PART + 1))
    saved = save_tree(store, source)
    second = next(e for e in load_tree(store, saved.digest) if e.path == "two parts").extents[1].object
    store.delete(blob_key(second))
    with pytest.raises(StoreError, match=f"two parts.*missing.*{second}"):
        restore_tree(store, saved.digest, tmp_path / "t")
    assert contents(tmp_path / "t") == {k: v for k, v in contents(source).items() if k != "two parts"}


def test_a_part_that_is_damaged_leaves_no_file(store, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "f").write_bytes(os.urandom(2 * PART + 1))
    saved = save_tree(store, tmp_path / "s")
    part = load_tree(store, saved.digest).entries[1].extents[1].object
    data = store.read(blob_key(part)).data
    store.write(blob_key(part), data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match=f"f: .*damaged.*{part}"):
        restore_tree(store, saved.digest, tmp_path / "t")
    assert os.listdir(tmp_path / "t") == []


def test_a_line_that_breaks_once_is_no_damage(memory_store, tmp_path, monkeypatch):
    source = make(tmp_path / "s")
    saved = save_tree(memory_store, source)
    read = memory_store.read
    broken: set[str] = set()

    def once(key, start=0, length=None):
        found = read(key, start, length)
        if key.startswith("blobs/") and key not in broken:
            broken.add(key)
            return type(found)(found.data[: len(found.data) // 2], found.version)
        return found

    monkeypatch.setattr(memory_store, "read", once)
    restore_tree(memory_store, saved.digest, tmp_path / "t")
    assert contents(tmp_path / "t") == contents(source)
    assert broken


def test_saving_again_heals_a_manifest_that_leads_nowhere(memory_store, tmp_path):
    source = make(tmp_path / "s")
    saved = save_tree(memory_store, source)
    memory_store.objects = {k: v for k, v in memory_store.objects.items() if k.startswith("trees/")}
    assert check_tree(memory_store, saved.digest)
    save_tree(memory_store, source)
    assert check_tree(memory_store, saved.digest) == []
    memory_store.objects[tree_key(saved.digest)] = b"{"
    save_tree(memory_store, source)
    assert check_tree(memory_store, saved.digest) == []


# --- what a manifest may say ---


def entry(path: str, kind: str = "file", **more: object) -> TreeEntry:
    if kind == "file":
        return TreeEntry(path, kind, 0o644, hashlib.sha256(b"evil").hexdigest(), size=4, inline=b"evil")
    return TreeEntry(path, kind, 0o755 if kind == "dir" else 0, target=str(more.get("target", "")))


ROOT = entry("", "dir")


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [ROOT, entry("../evil")],
        [ROOT, entry("..")],
        [ROOT, entry(".")],
        [ROOT, entry("/evil")],
        [ROOT, entry("a/../../evil")],
        [ROOT, entry("a", "dir"), entry("a/../evil")],
        [ROOT, entry("a", "dir"), entry("a/..", "dir"), entry("a/../evil")],
        [ROOT, entry("a//evil")],
        [ROOT, entry("a/", "dir")],
        [ROOT, entry("a\0b")],
        [ROOT, entry("a", "link", target="/tmp"), entry("a/evil")],
        [ROOT, entry("a"), entry("a/evil")],
        [ROOT, entry("a"), entry("a")],
        [ROOT, entry("a", "link", target="/tmp"), entry("a")],
        [ROOT, entry("a", "dir"), entry("a", "link", target="/tmp"), entry("a/evil")],
        [ROOT, ROOT],
        [ROOT, entry("nowhere/evil")],
        [entry("evil")],
        [entry(""), entry("evil")],
        [entry("", "link", target="/tmp"), entry("evil")],
        [ROOT, entry("a", "link", target="")],
        [ROOT, entry("a", "link", target="x\0y")],
        [ROOT, entry("a")._replace(mode=0o4755)],
        [ROOT, entry("a")._replace(mode=-1)],
        [ROOT, entry("a")._replace(size=5)],
        [ROOT, entry("a")._replace(inline=None, extents=(Extent("0" * 64, -1, 4),))],
        [ROOT, entry("a")._replace(inline=None, extents=(Extent("0" * 64, 0, 3),))],
    ],
)
def test_a_manifest_that_lies_is_refused_as_a_whole(memory_store, tmp_path, entries):
    tree = Tree(entries)
    memory_store.objects[tree_key(tree.digest)] = encode_tree(tree)
    with pytest.raises(StoreError, match="damaged"):
        restore_tree(memory_store, tree.digest, tmp_path / "in" / "t")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CON", "a:b", "a\\b", "..\\evil", "evil.", "~", "$HOME", "-rf", "A", "...", "\u202e"])
def test_names_that_mean_something_elsewhere_are_plain_names_here(memory_store, tmp_path, name):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / name).write_text("x")
    (tmp_path / "s" / "a").write_text("y")
    restore_tree(memory_store, save_tree(memory_store, tmp_path / "s").digest, tmp_path / "t")
    assert contents(tmp_path / "t") == contents(tmp_path / "s")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_rubbish_is_no_manifest(data):
    with pytest.raises(StoreError):
        decode_tree(data, "0" * 64)


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["f", "d", "l"])
    ),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(rows=json_values, objects=json_values)
def test_no_json_is_a_manifest_by_accident(rows, objects):
    lines = [json.dumps({"format": "dstack tree 1", "objects": objects}), json.dumps(rows)]
    with pytest.raises(StoreError):
        decode_tree("\n".join(lines).encode(), "0" * 64)


def test_a_newer_format_is_told_as_such(memory_store):
    with pytest.raises(StoreError, match="dstack tree 2"):
        decode_tree(b'{"format":"dstack tree 2"}', "0" * 64)


# --- what is in the way at the target ---


def test_links_at_the_target_are_not_followed(store, tmp_path):
    source = make(tmp_path / "s")
    (source / "d" / "f").write_text("new")
    saved = save_tree(store, source)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("mine")
    target = tmp_path / "t"
    target.mkdir()
    (target / "d").symlink_to(outside)
    (target / "small0").symlink_to(outside / "victim")
    (target / "large").symlink_to(outside / "victim")
    with pytest.raises(StoreError, match="d is there, and is no folder"):
        restore_tree(store, saved.digest, target)
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "mine"
    assert (target / "small0").read_bytes() == (source / "small0").read_bytes()
    assert not (target / "small0").is_symlink()
    assert not (target / "large").is_symlink()


def test_files_are_replaced_not_written_through(store, tmp_path):
    source = make(tmp_path / "s")
    saved = save_tree(store, source)
    target = tmp_path / "t"
    target.mkdir()
    for name in ("small0", "large"):
        (tmp_path / f"other {name}").write_text("mine")
        os.link(tmp_path / f"other {name}", target / name)
    (target / "kept").write_text("kept")
    restore_tree(store, saved.digest, target)
    assert (tmp_path / "other small0").read_text() == (tmp_path / "other large").read_text() == "mine"
    assert contents(target) == {**contents(source), "kept": b"kept"}


def test_a_folder_in_the_way_is_named_and_kept(store, tmp_path):
    source = make(tmp_path / "s")
    saved = save_tree(store, source)
    target = tmp_path / "t"
    for name in ("small0", "large", "d/link"):
        (target / name / "inside").mkdir(parents=True)
    with pytest.raises(StoreError, match="small0 is there, and is a folder") as raised:
        restore_tree(store, saved.digest, target)
    assert "large is there" in str(raised.value)
    assert "d/link is there" in str(raised.value)
    assert (target / "small0" / "inside").is_dir()
    assert (target / "small1").read_bytes() == (source / "small1").read_bytes()
    assert not list(target.rglob(".dstack-*"))


def test_a_job_cannot_write_into_the_store(store, tmp_path):
    source = make(tmp_path / "s")
    saved = save_tree(store, source)
    restore_tree(store, saved.digest, tmp_path / "t")
    for path in (tmp_path / "t").rglob("*"):
        if path.is_file():
            with path.open("r+b") as f:
                f.write(b"scribble")
    assert check_tree(store, saved.digest) == []


# --- indexes ---


@settings(max_examples=100, deadline=None)
@given(
    files=st.dictionaries(st.binary(min_size=32, max_size=32), st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9))),
    at=st.integers(0, 10_000),
    how=st.sampled_from(["flip", "cut", "drop"]),
)
def test_a_damaged_index_is_no_index(files, at, how):
    data = encode_index(files)
    assert decode_index(data) == files
    with pytest.raises(ValueError):
        decode_index(damage(data, at % len(data), how))


def test_a_damaged_index_in_the_store_harms_nobody(memory_store, tmp_path, home):
    source = make(tmp_path / "s")
    for i in range(100):
        (source / f"more{i}").write_bytes(b"%03d" % i * 400)
    save_tree(memory_store, source)
    for key in [k for k in memory_store.objects if k.startswith("packs/")]:
        memory_store.objects[key] = damage(memory_store.objects[key], 60, "flip")
    storing._refreshed.clear()
    (source / "more").write_bytes(b"more" * 400)
    saved = save_tree(memory_store, source)
    assert check_tree(memory_store, saved.digest) == []


def test_a_memory_of_packs_that_is_wrong_harms_nobody(memory_store, tmp_path, home):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            (tmp_path / name / f"{i}").write_text(f"{name}{i}" * 1000)
        save_tree(memory_store, tmp_path / name)
    (memory,) = home.glob("cache/*/packs.sqlite")
    with contextlib.closing(sqlite3.connect(memory)) as db, db:  # as after a power cut that lost a part of it
        db.execute("UPDATE file SET pack = (SELECT max(id) FROM pack)")
    (tmp_path / "a" / "new").write_text("new")
    saved = save_tree(memory_store, tmp_path / "a")
    assert check_tree(memory_store, saved.digest) == []


# --- sudden death ---

SAVER = """
import sys
from pathlib import Path
from dstack_core._content.tree import save_tree
from dstack_local.store import FolderStore
print("ready", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    print(save_tree(FolderStore({"path": sys.argv[1]}), Path(name)).digest, flush=True)
"""


def test_killed_savers_leave_no_tree_that_is_not_whole(tmp_path):
    local = pytest.importorskip("dstack_local.store")
    sources = []
    for n in range(3):
        source = make(tmp_path / f"s{n}")
        for i in range(200):
            (source / f"f{i}").write_bytes(os.urandom(20_000))
        (source / "parts").write_bytes(os.urandom(PART + 1000))
        sources.append(str(source))
    took = 0.0
    chance = random.Random(7)
    for round_ in range(12):
        folder = tmp_path / f"store{round_ % 4}"
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), *sources], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        began = time.monotonic()
        process.stdin.write(b"\n")
        process.stdin.flush()
        if round_ == 0:
            assert process.wait() == 0
            took = time.monotonic() - began
        else:
            try:
                process.wait(chance.uniform(0, took))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        process.stdin.close()
        process.stdout.close()
        store = local.FolderStore({"path": str(folder)})
        for info in store.list("trees/"):
            assert check_tree(store, info.key.rpartition("/")[2]) == []
    # Whatever was left, the same command heals it.
    for n in range(4):
        store = local.FolderStore({"path": str(tmp_path / f"store{n}")})
        for source in sources:
            saved = save_tree(store, Path(source))
            assert check_tree(store, saved.digest) == []


def test_a_store_that_fails_fails_the_save(memory_store, tmp_path):
    source = make(tmp_path / "s")
    (source / "parts").write_bytes(os.urandom(4 * PART))
    for failing in range(1, 7):
        memory_store.objects.clear()
        real = memory_store.write
        count = 0

        def write(key, data, expect, real=real, failing=failing):
            nonlocal count
            count += 1
            if count == failing:
                raise StoreError("the disk is full")
            return real(key, data, expect)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory_store, "write", write)
            with pytest.raises(StoreError, match="full"):
                save_tree(memory_store, source)
        assert not any(k.startswith("trees/") for k in memory_store.objects)


def test_a_part_that_fails_at_any_moment_fails_the_save(memory_store, tmp_path, monkeypatch):
    for module in (reading, saving, storing):
        monkeypatch.setattr(module, "PART", 4096)
    monkeypatch.setattr(saving, "PACK_LIMIT", 1024)
    source = tmp_path / "parts"
    source.write_bytes(os.urandom(100 * 4096))
    real = memory_store.write
    written: list[str] = []

    def write(key, data, expect):
        if key.startswith("blobs/"):
            written.append(key)
            if len(written) == failing:
                raise StoreError("the disk is full")
        return real(key, data, expect)

    monkeypatch.setattr(memory_store, "write", write)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for failing in range(1, 100, 2):  # noqa: B007  `write` uses it
            memory_store.objects.clear()
            written.clear()
            with pytest.raises(StoreError, match="full"):
                save_tree(memory_store, source, cache=False)
    finally:
        sys.setswitchinterval(interval)


def test_the_disk_of_a_restore_is_full(memory_store, tmp_path, monkeypatch):
    source = make(tmp_path / "s")
    saved = save_tree(memory_store, source)
    from dstack_core._content import places

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(places.os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        restore_tree(memory_store, saved.digest, tmp_path / "t")
    monkeypatch.undo()
    assert all(p.stat().st_size for p in (tmp_path / "t").rglob("*") if p.is_file())


def test_inline_limit_is_less_than_a_pack():
    assert saving.INLINE_LIMIT < PACK_LIMIT <= PART


# --- what was found damaged is stored anew ---


def spoil(store, key):
    data = store.read(key).data
    store.write(key, data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("finder", [check_tree, "restore"])
@pytest.mark.parametrize("what", ["blobs/", "trees/"])
@pytest.mark.parametrize("cache", [False, True])
def test_saving_again_heals_what_was_found_damaged(store, tmp_path, what, finder, cache):
    source = make(tmp_path / "s")
    for i in range(300):  # so many that it is worth remembering what they held
        (source / f"more{i}").write_bytes(os.urandom(1000))
    saved = save_tree(store, source, cache=cache)
    for info in list(store.list(what)):
        spoil(store, info.key)
    if finder == "restore":
        with pytest.raises(StoreError):
            restore_tree(store, saved.digest, tmp_path / "t")
    else:
        assert finder(store, saved.digest)
    assert saved.digest in KnownDamage(store)
    assert save_tree(store, source, cache=cache).digest == saved.digest
    assert check_tree(store, saved.digest) == []
    assert list(store.list("damaged/")) == []


def test_another_tree_of_the_same_bytes_heals_itself(store, tmp_path):
    """It is not known to be damaged, but what it leads to is: its manifest is not believed."""
    for name in ("one", "two"):
        make(tmp_path / name)
    (tmp_path / "two" / "other").write_bytes(b"other")
    one, two = (save_tree(store, tmp_path / name, cache=False).digest for name in ("one", "two"))
    for info in list(store.list("blobs/")):
        spoil(store, info.key)
    assert check_tree(store, one)
    save_tree(store, tmp_path / "two", cache=False)
    large = [problem.path for problem in check_tree(store, two)]
    assert large == []
    assert one in KnownDamage(store)


def test_files_beside_a_damaged_one_can_be_restored_until_it_is_healed(store, tmp_path):
    source = make(tmp_path / "s")
    saved = save_tree(store, source, cache=False)
    pack = next(e for e in load_tree(store, saved.digest) if e.path == "small7").extents[0].object
    spoil(store, blob_key(pack))
    for i in range(2):
        with pytest.raises(StoreError, match="1 file was not restored"):
            restore_tree(store, saved.digest, tmp_path / f"t{i}")
        assert len(contents(tmp_path / f"t{i}")) == len(contents(source)) - 1


def test_a_part_of_a_large_file_that_was_found_damaged_is_stored_anew(store, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "f").write_bytes(os.urandom(PART + 1))
    saved = save_tree(store, tmp_path / "s", cache=False)
    part = load_tree(store, saved.digest).entries[1].extents[0].object
    spoil(store, blob_key(part))
    with pytest.raises(StoreError):
        restore_tree(store, saved.digest, tmp_path / "t")
    save_tree(store, tmp_path / "s", cache=False)
    restore_tree(store, saved.digest, tmp_path / "t")
    assert contents(tmp_path / "t") == contents(tmp_path / "s")


def test_what_fails_for_a_moment_is_not_taken_for_damaged(memory_store, tmp_path, monkeypatch):
    saved = save_tree(memory_store, make(tmp_path / "s"))
    read = memory_store.read

    def fail(key, start=0, length=None):
        if key.startswith("blobs/"):
            raise StoreError("the store is down")
        return read(key, start, length)

    monkeypatch.setattr(memory_store, "read", fail)
    assert check_tree(memory_store, saved.digest)
    assert list(memory_store.list("damaged/")) == []


def test_damage_is_told_though_it_cannot_be_noted(memory_store, tmp_path):
    saved = save_tree(memory_store, make(tmp_path / "s"))
    for key in list(memory_store.objects):
        if key.startswith("blobs/"):
            spoil(memory_store, key)
    memory_store.fail = 100
    with pytest.raises(StoreError, match="damaged"):
        restore_tree(memory_store, saved.digest, tmp_path / "t")


def test_a_snapshot_that_was_found_damaged_is_stored_anew(store, tmp_path):
    source = make(tmp_path / "s")
    snapshot = scan_snapshot(source)
    store_snapshot(store, source, snapshot)
    for info in list(store.list("blobs/")):
        spoil(store, info.key)
    with pytest.raises(StoreError):
        restore_tree(store, snapshot.digest, tmp_path / "t")
    store_snapshot(store, source, snapshot)
    assert check_tree(store, snapshot.digest) == []
