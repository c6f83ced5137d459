"""What every artifact store must do. Subclass `ArtifactStoreSuite`, override `open_store` and `witness`."""

from __future__ import annotations

import functools
import random
import string
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from dstack_core.artifact_store import ABSENT, ANY, ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError, StoreError
from dstack_core.testing import store_contests
from dstack_core.testing.contest import Contestant, contend
from dstack_core.testing.store_abilities import OptionalAbilities

PROCESSES = 8


class Witness(Protocol):
    """Looks at the store's medium with other means than the store: plain files, another client library."""

    def read(self, key: str) -> bytes | None:
        """The object's bytes, None if there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Put an object there, by no means conditionally."""

    def keys(self) -> list[str]:
        """All keys, in any order."""


class ArtifactStoreSuite(OptionalAbilities):
    """Tests of the contract in `dstack_core.artifact_store`. Each gets an empty store of its own.

    Attributes:
        many: keys in the test of long listings; more than one page of whatever lists.
        rounds: rounds of each contest between processes.
        kills: how often a writer is killed while it writes.
        big: bytes of the largest object written.
    """

    many = 5000
    rounds = 25
    kills = 15
    big = 32 << 20

    @pytest.fixture
    def open_store(self) -> Callable[[], ArtifactStore]:
        """Override: a function that opens the test's store, each call anew. It must survive pickling, because other
        processes call it too: `functools.partial(YourStore, {"path": ...})`."""
        raise NotImplementedError("override the fixture `open_store`")

    @pytest.fixture
    def witness(self) -> Witness:
        """Override: see `Witness`. Of the same store that `open_store` opens."""
        raise NotImplementedError("override the fixture `witness`")

    @pytest.fixture
    def broken_store(self) -> ArtifactStore:
        """Override if you can: a store that holds the object `key` but can neither be read nor written."""
        pytest.skip("no broken store to test with")

    @pytest.fixture
    def store(self, open_store: Callable[[], ArtifactStore]) -> ArtifactStore:
        """The store under test, opened once."""
        return open_store()

    # --- objects ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "data", [b"x", b"", bytes(range(256)) * 5, b"\r\n\0\n"], ids=["one", "none", "all", "ends"]
    )
    def test_what_is_written_is_read(
        self, store: ArtifactStore, open_store: Callable[[], ArtifactStore], witness: Witness, data: bytes
    ) -> None:
        """By this opening of the store, by another, and by the witness."""
        version = store.write("a/b/c", data)
        assert version
        for reader in (store, open_store()):
            found = reader.read("a/b/c")
            assert (found.data, found.version) == (data, version)
        assert witness.read("a/b/c") == data
        assert witness.keys() == ["a/b/c"]
        assert open_store().location == store.location != ""

    def test_what_another_wrote_is_read(self, store: ArtifactStore, witness: Witness) -> None:
        """The store keeps nothing in memory that the medium does not have."""
        store.write("x/y", b"mine")
        witness.write("x/y", b"theirs, and longer")
        witness.write("x/z", b"new")
        assert store.read("x/y").data == b"theirs, and longer"
        assert [o.key for o in store.list("x/")] == ["x/y", "x/z"]

    def test_an_object_is_replaced(self, store: ArtifactStore) -> None:
        """Shorter after longer, too."""
        store.write("k", b"a long first value")
        store.write("k", b"short")
        assert store.read("k").data == b"short"

    def test_a_memoryview_is_written(self, store: ArtifactStore) -> None:
        """Without a copy to bytes by the caller."""
        store.write("k", memoryview(b"0123456789")[2:5])
        assert store.read("k").data == b"234"

    def test_a_big_object_survives(self, store: ArtifactStore, witness: Witness) -> None:
        """Whatever parts it is sent in."""
        data = random.Random(1).randbytes(self.big)
        store.write("big", data)
        assert store.read("big").data == data
        assert witness.read("big") == data
        assert store.read("big", self.big - 3).data == data[-3:]

    @pytest.mark.parametrize(
        ("start", "length", "expected"),
        [(0, 3, b"012"), (4, 2, b"45"), (8, 10, b"89"), (7, None, b"789"), (10, 5, b""), (99, None, b""), (3, 0, b"")],
    )
    def test_a_range_is_read(self, store: ArtifactStore, start: int, length: int | None, expected: bytes) -> None:
        """Short, not an error, when the object ends sooner."""
        store.write("k", b"0123456789")
        assert store.read("k", start, length).data == expected

    def test_a_range_of_an_empty_object_is_empty(self, store: ArtifactStore) -> None:
        """HTTP answers such a range with an error; the contract does not."""
        store.write("k", b"")
        assert store.read("k", 0, 100).data == b""
        assert store.exists("k")

    def test_what_is_not_there_is_not_found(self, store: ArtifactStore) -> None:
        """Whether or not its folder is there."""
        store.write("a/b", b"x")
        for key in ("nothing", "a/nothing", "a/b-", "a"):
            with pytest.raises(NotFoundError):
                store.read(key)
            with pytest.raises(NotFoundError):
                store.read(key, 1, 1)
            assert not store.exists(key)
        assert store.exists("a/b")

    def test_every_allowed_character_names_an_object(self, store: ArtifactStore, witness: Witness) -> None:
        """In every place of a key; nothing is decoded, folded or normalised."""
        allowed = string.ascii_letters + string.digits + "._%=+-"
        keys = [f"c/{c}x" for c in allowed if c not in string.ascii_uppercase]
        keys += [f"f{c}/x" for c in allowed if c not in string.ascii_uppercase]
        keys += ["p/a%2Fb", "p/%41", "p/A=B+C", "p/...", "p/-", "/".join(["s" * 127] * 4)]
        for key in keys:
            store.write(key, key.encode(), ABSENT)
        assert [store.read(key).data.decode() for key in keys] == keys
        assert [o.key for o in store.list("")] == sorted(keys)
        assert sorted(witness.keys()) == sorted(keys)

    # --- listings ---------------------------------------------------------------------------------------------------

    def test_a_long_listing_is_complete_and_in_order(self, store: ArtifactStore, witness: Witness) -> None:
        """Over all pages, and from any key on."""
        keys = [f"many/{n:x}" for n in range(self.many)]
        for key in keys:
            witness.write(key, b"")
        keys.sort()
        assert [o.key for o in store.list("many/")] == keys
        for position in (0, 1, 998, 1000, self.many // 2, self.many - 2, self.many - 1):
            assert [o.key for o in store.list("many/", keys[position])] == keys[position + 1 :]
        assert next(store.list("many/", keys[self.many // 3])).key == keys[self.many // 3 + 1]

    def test_a_prefix_is_a_whole_folder(self, store: ArtifactStore) -> None:
        """`x-1/` is not `x-10/`."""
        for key in ("a/1", "a/2/3", "ab/1", "a-b/1", "a.b", "b/1"):
            store.write(key, b"")
        assert [o.key for o in store.list("a/")] == ["a/1", "a/2/3"]
        assert list(store.list("nothing/")) == []
        assert [o.key for o in store.list("")] == ["a-b/1", "a.b", "a/1", "a/2/3", "ab/1", "b/1"]

    def test_after_need_not_be_a_key(self, store: ArtifactStore) -> None:
        """A listing starts behind any text."""
        for key in ("a/1", "a/2/x", "a/2/y", "a/20", "a/3"):
            store.write(key, b"")
        assert [o.key for o in store.list("a/", "a/2/")] == ["a/2/x", "a/2/y", "a/20", "a/3"]
        assert [o.key for o in store.list("a/", "a/2/x")] == ["a/2/y", "a/20", "a/3"]
        assert [o.key for o in store.list("a/", "a/2~")] == ["a/3"]
        assert [o.key for o in store.list("a/", "0")] == ["a/1", "a/2/x", "a/2/y", "a/20", "a/3"]
        assert list(store.list("a/", "b")) == []

    def test_a_listing_tells_size_and_change(self, store: ArtifactStore) -> None:
        """`stamp` stays when nothing happened and differs when the object was written with other bytes."""
        store.write("k/a", b"12345")
        (first,) = store.list("k/")
        (again,) = store.list("k/")
        store.write("k/a", b"54321")
        (second,) = store.list("k/")
        assert (first.size, second.size) == (5, 5)
        assert first.stamp == again.stamp != second.stamp

    def test_a_write_is_listed_at_once(self, store: ArtifactStore, open_store: Callable[[], ArtifactStore]) -> None:
        """And a deletion is no longer."""
        other = open_store()
        for n in range(20):
            store.write(f"k/{n:02}", b"")
            assert len(list(other.list("k/"))) == n + 1
        store.delete("k/07")
        assert [o.key for o in other.list("k/", "k/05")][:2] == ["k/06", "k/08"]

    # --- conditions -------------------------------------------------------------------------------------------------

    def test_an_existing_object_is_not_created(self, store: ArtifactStore) -> None:
        """Even with the same bytes; the object keeps its value."""
        version = store.write("k", b"first", ABSENT)
        for data in (b"second", b"first"):
            with pytest.raises(ConflictError):
                store.write("k", data, ABSENT)
        assert store.read("k").data == b"first"
        assert store.read("k").version == version

    def test_only_the_expected_version_is_replaced(self, store: ArtifactStore) -> None:
        """A version that was replaced is refused, and one of nothing."""
        first = store.write("k", b"1")
        second = store.write("k", b"2", first)
        assert first != second
        with pytest.raises(ConflictError):
            store.write("k", b"3", first)
        with pytest.raises(ConflictError):
            store.write("nothing", b"3", first)
        assert store.read("k").data == b"2"
        assert not store.exists("nothing")
        store.write("k", b"3", store.read("k").version)
        assert store.read("k").data == b"3"

    def test_a_deletion_removes(self, store: ArtifactStore, witness: Witness) -> None:
        """Once; what is not there is no error; afterwards it can be created again."""
        store.write("a/b/c", b"x")
        store.write("a/d", b"x")
        store.delete("a/b/c")
        store.delete("a/b/c")
        store.delete("never/was", ANY)
        assert witness.keys() == ["a/d"]
        with pytest.raises(NotFoundError):
            store.read("a/b/c")
        store.write("a/b/c", b"y", ABSENT)
        assert store.read("a/b/c").data == b"y"

    def test_only_the_expected_version_is_deleted(self, store: ArtifactStore) -> None:
        """Somebody else's newer object stays."""
        old = store.write("k", b"1")
        new = store.write("k", b"2")
        with pytest.raises(ConflictError):
            store.delete("k", old)
        assert store.read("k").data == b"2"
        store.delete("k", new)
        assert not store.exists("k")

    def test_one_of_many_processes_creates(self, open_store: Callable[[], ArtifactStore]) -> None:
        """Exactly one wins each round, and its bytes are there."""
        wins = contend(store_contests.create, [(open_store, me, self.rounds) for me in range(PROCESSES)])
        winners = {n: me for me, won in enumerate(wins) for n in won}
        assert sum(map(len, wins)) == len(winners) == self.rounds
        store = open_store()
        assert {n: int(store.read(f"race/{n}").data) for n in winners} == winners

    def test_no_process_loses_an_update(self, open_store: Callable[[], ArtifactStore]) -> None:
        """A counter that all raise by compare-and-swap ends at the sum."""
        store = open_store()
        store.write("count", b"0")
        contend(store_contests.count_up, [(open_store, self.rounds)] * PROCESSES)
        assert int(store.read("count").data) == PROCESSES * self.rounds

    def test_threads_share_a_store(self, store: ArtifactStore) -> None:
        """One opening, many threads, conditional writes among them."""

        def one(n: int) -> bool:
            store.write(f"t/{n}", str(n).encode() * 1000)
            try:
                store.write(f"once/{n % 10}", str(n).encode(), ABSENT)
            except ConflictError:
                return False
            return store.read(f"t/{n}").data == str(n).encode() * 1000

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(one, range(100)))
        assert sum(won) == 10
        assert len(list(store.list("t/"))) == 100

    # --- failures ---------------------------------------------------------------------------------------------------

    def test_a_killed_writer_leaves_whole_objects(
        self, open_store: Callable[[], ArtifactStore], witness: Witness
    ) -> None:
        """The old bytes or the new ones; nothing half, nothing more."""
        store, size, rng = open_store(), 1 << 20, random.Random(2)
        store.write("k/v", b"a" * size)
        for _ in range(self.kills):
            writer = Contestant(store_contests.write_for_ever, open_store, "k/v", size)
            writer.go()
            time.sleep(rng.uniform(0.0, 0.05))  # it is random where the kill hits
            writer.kill()
            data = store.read("k/v").data
            assert data in (b"a" * size, b"b" * size)
            assert witness.read("k/v") == data
            assert [o.key for o in store.list("")] == ["k/v"]
        store.write("k/v", b"still writable", store.read("k/v").version)

    def test_a_broken_store_says_so(self, broken_store: ArtifactStore) -> None:
        """With StoreError in every operation: never `not found`, never an empty listing."""
        operations: list[Callable[[], object]] = [
            functools.partial(broken_store.read, "key"),
            functools.partial(broken_store.write, "key", b"x"),
            functools.partial(broken_store.write, "new", b"x", ABSENT),
            lambda: list(broken_store.list("")),
            functools.partial(broken_store.exists, "key"),
        ]
        for operation in operations:
            with pytest.raises(StoreError) as failure:
                operation()
            assert "\n" not in str(failure.value)
