"""Documents: lost answers, unknown fields, newer formats, damage, and many writers."""

from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import dataclass, replace

import pytest
from dstack_local.store import FolderStore
from hypothesis import example, given
from hypothesis import strategies as st

from dstack_core._ledger import documents
from dstack_core._ledger.records import JobRecord, MachineRecord, RunRecord, TagRecord
from dstack_core.errors import ConflictError, NotFoundError, StoreError


@dataclass(frozen=True)
class Counter:
    count: int = 0
    names: tuple[str, ...] = ()


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


class LosesAnswers(FolderStore):
    """Writes, and then says that somebody else was first: what a retry inside a client makes of a lost answer."""

    def write(self, key, data, expect="*any*"):
        super().write(key, data, expect)
        raise ConflictError("the object has changed")


class LosesRaces(FolderStore):
    """Somebody else is always first, with other bytes."""

    def write(self, key, data, expect="*any*"):
        super().write(key, b'{"count": 99}')
        raise ConflictError("the object has changed")


def test_what_was_written_is_read(store):
    written = documents.create(store, "a/b.json", Counter(3, ("x",)))
    read = documents.read(store, Counter, "a/b.json")
    assert (read.value, read.version) == (Counter(3, ("x",)), written.version)


def test_create_is_for_what_is_not_there(store):
    documents.create(store, "a", Counter(1))
    with pytest.raises(ConflictError):
        documents.create(store, "a", Counter(1))
    assert documents.read(store, Counter, "a").value == Counter(1)


def test_replace_is_for_what_was_read(store):
    first = documents.create(store, "a", Counter(1))
    documents.replace(store, first, Counter(2))
    with pytest.raises(ConflictError):
        documents.replace(store, first, Counter(3))
    assert documents.read(store, Counter, "a").value == Counter(2)


def test_equal_values_are_not_equal_bytes(store):
    """Or a loser of a race with the same value would take itself for the winner."""
    documents.create(store, "a", Counter(1))
    documents.create(store, "b", Counter(1))
    assert store.read("a").data != store.read("b").data


def test_a_lost_answer_is_told_from_a_lost_race(store, tmp_path):
    location = {"path": str(tmp_path / "store")}
    created = documents.create(LosesAnswers(location), "a", Counter(1))
    replaced = documents.replace(LosesAnswers(location), created, Counter(2))
    assert documents.read(store, Counter, "a") == replaced
    with pytest.raises(ConflictError):
        documents.replace(LosesRaces(location), replaced, Counter(3))
    with pytest.raises(ConflictError):
        documents.create(LosesRaces(location), "b", Counter(3))


def test_a_lost_answer_does_not_change_twice(store, tmp_path):
    documents.create(store, "a", Counter(1))
    flaky = LosesAnswers({"path": str(tmp_path / "store")})
    documents.update(flaky, Counter, "a", lambda c: Counter(c.count + 1))
    assert documents.read(store, Counter, "a").value == Counter(2)


def test_fields_of_a_newer_dstack_survive(store):
    store.write("a", b'{"count": 1, "colour": {"deep": [1]}, "nonce": "x", "format": 1}')
    documents.update(store, Counter, "a", lambda c: Counter(c.count + 1))
    documents.update(store, Counter, "a", lambda c: Counter(c.count + 1))
    plain = json.loads(store.read("a").data)
    assert (plain["count"], plain["colour"]) == (3, {"deep": [1]})
    assert plain["nonce"] != "x"


def test_a_newer_format_is_read_and_never_written(store):
    data = json.dumps({"count": 1, "format": documents.FORMAT + 1}).encode()
    store.write("a", data)
    assert documents.read(store, Counter, "a").value == Counter(1)
    with pytest.raises(StoreError, match="newer dstack") as caught:
        documents.update(store, Counter, "a", lambda c: Counter(c.count + 1))
    assert "pip install" in caught.value.hint
    assert store.read("a").data == data


def test_a_format_that_is_none(store):
    store.write("a", b'{"count": 1, "format": "one"}')
    with pytest.raises(StoreError, match="damaged"):
        documents.update(store, Counter, "a", lambda c: Counter(c.count + 1))


def test_an_update_that_changes_nothing_writes_nothing(store):
    version = documents.create(store, "a", Counter(1)).version
    documents.update(store, Counter, "a", lambda c: None)
    assert store.read("a").version == version


def test_what_is_not_there(store):
    with pytest.raises(NotFoundError):
        documents.read(store, Counter, "a")
    with pytest.raises(NotFoundError):
        documents.update(store, Counter, "a", lambda c: c)


@given(st.binary(max_size=80))
@example(b"")
@example(b"null")
@example(b"[" * 100_000)
@example(b'{"format": "one"}')
@example(b'{"format": null, "name": 1}')
@example(b'{"count": true}')
@example(b"\xff\xfe{}")
def test_damaged_bytes_are_one_kind_of_error(data):
    for cls in (Counter, RunRecord, JobRecord, MachineRecord, TagRecord):
        try:
            documents.decode(cls, "some/key", data, "v")
        except StoreError as error:
            assert "some/key" in str(error)  # noqa: PT017


def test_a_damaged_document_is_replaced_by_whoever_saw_the_same_damage(store):
    store.write("a", b"{")
    with pytest.raises(documents.DamagedError) as first:
        documents.read(store, Counter, "a")
    store.write("a", b"[")
    with pytest.raises(documents.DamagedError) as second:
        documents.read(store, Counter, "a")
    with pytest.raises(ConflictError):
        documents.replace(store, first.value.standing_in(Counter()), Counter(1))
    documents.replace(store, second.value.standing_in(Counter()), Counter(2))
    assert documents.read(store, Counter, "a").value == Counter(2)


def test_many_threads_lose_no_change(store):
    documents.create(store, "a", Counter())
    start = threading.Barrier(16)

    def add():
        start.wait()
        for _ in range(5):
            documents.update(store, Counter, "a", lambda c: replace(c, count=c.count + 1))

    threads = [threading.Thread(target=add) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.read(store, Counter, "a").value == Counter(80)


def _add(path, start):
    store = FolderStore({"path": path})
    start.wait()
    for _ in range(10):
        documents.update(store, Counter, "a", lambda c: replace(c, count=c.count + 1))


def test_many_processes_lose_no_change(store):
    documents.create(store, "a", Counter())
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(4)
    processes = [spawn.Process(target=_add, args=(store.location, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert documents.read(store, Counter, "a").value == Counter(40)


def test_create_has_one_winner_among_threads(store):
    won = []
    start = threading.Barrier(16)

    def create(n):
        start.wait()
        try:
            documents.create(store, "a", Counter(n))
            won.append(n)
        except ConflictError:
            pass

    threads = [threading.Thread(target=create, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [documents.read(store, Counter, "a").value.count]
