"""A tree that is sent to another store is the same tree there; only what was missing travels; damage never does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._content import saving, storing
from dstack_core._content.entries import PART, blob_key, tree_key
from dstack_core._content.sending import Sent, send_tree
from dstack_core._content.tree import check_tree, load_tree, restore_tree, save_tree
from dstack_core.errors import NotFoundError, StoreError

from .conftest import MemoryStore
from .test_trees import build, facts, folders


@pytest.fixture
def other() -> MemoryStore:
    return MemoryStore()


def blobs(store: MemoryStore) -> dict[str, bytes]:
    return {key: data for key, data in store.objects.items() if key.startswith("blobs/")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small files for a pack, one of two parts and a hole, one of one part."""
    made = tmp_path / "folder"
    made.mkdir()
    for number in range(20):
        made.joinpath(f"small-{number}").write_bytes(os.urandom(5000))
    made.joinpath("empty").touch()
    made.joinpath("middle").write_bytes(os.urandom(300_000))
    with made.joinpath("large").open("wb") as file:
        file.write(os.urandom(1000))
        file.truncate(2 * PART)
        file.seek(2 * PART)
        file.write(os.urandom(70_000))
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=folders, inline=st.sampled_from([0, 4096]), alone=st.sampled_from([0, 2]))
def test_any_tree_arrives(memory_store, content, inline, alone):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "INLINE_LIMIT", inline)
        patch.setattr(storing, "_ALONE", alone)
        build(os.fsencode(root) + b"/made", content)
        saved = save_tree(memory_store, Path(root, "made"))
        target = MemoryStore()
        sent = send_tree(memory_store, target, saved.digest)
        assert (sent.files, sent.size) == (saved.files, saved.size)
        restore_tree(target, saved.digest, Path(root, "again"))
        assert facts(Path(root, "again")) == facts(Path(root, "made"))


def test_only_what_is_missing_is_sent(store, other, folder, tmp_path):
    saved = save_tree(store, folder)
    steps: list[tuple[int, int]] = []
    first = send_tree(store, other, saved.digest, lambda *step: steps.append(step))
    assert first.new_bytes == saved.new_bytes
    assert steps[-1] == (saved.size, saved.size)
    assert steps == sorted(steps)
    assert check_tree(other, saved.digest) == []
    written = len(other.writes())
    assert send_tree(store, other, saved.digest) == Sent(saved.files, saved.size, 0)
    assert len(other.writes()) == written

    folder.joinpath("small-3").write_bytes(b"new" * 1000)
    folder.joinpath("middle").write_bytes(os.urandom(300_001))
    changed = save_tree(store, folder)
    assert send_tree(store, other, changed.digest).new_bytes == 303_001
    restore_tree(other, changed.digest, tmp_path / "back")
    assert facts(tmp_path / "back") == facts(folder)


def test_a_transfer_that_was_cut_short_goes_on(store, other, folder):
    saved = save_tree(store, folder)

    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        if done > 300_000:
            raise Cut

    with pytest.raises(Cut):
        send_tree(store, other, saved.digest, cut)
    assert tree_key(saved.digest) not in other.objects, "the manifest comes last"
    arrived = sum(map(len, blobs(other).values()))
    assert arrived > 0
    assert send_tree(store, other, saved.digest).new_bytes == saved.new_bytes - arrived
    assert check_tree(other, saved.digest) == []


@pytest.mark.parametrize("which", ["pack", "part"])
def test_damage_stays_where_it_is(memory_store, other, folder, which):
    saved = save_tree(memory_store, folder)
    entry = next(e for e in load_tree(memory_store, saved.digest).entries
                 if e.path == {"pack": "small-3", "part": "middle"}[which])  # fmt: skip
    key = blob_key(entry.extents[0].object)
    data = bytearray(memory_store.objects[key])
    data[entry.extents[0].offset] ^= 1
    memory_store.objects[key] = bytes(data)
    with pytest.raises(StoreError, match=f"1 file was not sent to .*{entry.path}: its stored bytes are damaged"):
        send_tree(memory_store, other, saved.digest)
    assert tree_key(saved.digest) not in other.objects
    # What is found damaged in the other store is replaced.
    save_tree(memory_store, folder)
    send_tree(memory_store, other, saved.digest)
    damaged = next(key for key in blobs(other) if len(other.objects[key]) == 300_000)
    other.objects[damaged] = b"x" * 300_000
    assert check_tree(other, saved.digest) != []
    send_tree(memory_store, other, saved.digest)
    assert check_tree(other, saved.digest) == []


def test_a_tree_that_is_not_there(memory_store, other):
    with pytest.raises(NotFoundError, match="there is no tree"):
        send_tree(memory_store, other, "0" * 64)
