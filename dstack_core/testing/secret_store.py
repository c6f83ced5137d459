"""What every secret store must do. Subclass `SecretStoreSuite`, override `open_store` and `witness`."""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable
from typing import Protocol

import pytest

from dstack_core.errors import InputError, NotFoundError
from dstack_core.secret_store import SecretStore
from dstack_core.testing.contest import Contestant, contend
from dstack_core.testing.secret_contests import put_for_ever, put_own

PROCESSES = 8
REPO = "ann/digits"
OTHER = "ann/digits2"
CANARY = "c4n4ry-v4lu3"


class Witness(Protocol):
    """Looks at the store's medium with other means than the store: a plain file, another client library."""

    def read(self, repo: str, name: str) -> str | None:
        """The value, None if there is none."""

    def write(self, repo: str, name: str, value: str) -> None:
        """Put a secret there."""


class SecretStoreSuite:
    """Tests of the contract in `dstack_core.secret_store`. Each gets an empty store of its own.

    Attributes:
        rounds: secrets that each of the processes puts in the contest.
        kills: how often a writer is killed while it writes.
    """

    rounds = 10
    kills = 10

    @pytest.fixture
    def open_store(self) -> Callable[[], SecretStore]:
        """Override: a function that opens the test's store, each call anew. It must survive pickling, because other
        processes call it too: `functools.partial(YourStore, {"path": ...})`."""
        raise NotImplementedError("override the fixture `open_store`")

    @pytest.fixture
    def witness(self) -> Witness:
        """Override: see `Witness`. Of the same store that `open_store` opens."""
        raise NotImplementedError("override the fixture `witness`")

    @pytest.fixture
    def store(self, open_store: Callable[[], SecretStore]) -> SecretStore:
        """The store under test, opened once."""
        return open_store()

    @pytest.mark.parametrize(
        "value",
        ["x", " spaces ", "two\nlines\r\nand more\n", "\n", "pÄss-☃-𝄞", "\"quoted\" 'too' \\ ${X} `y` %s", "v" * 9000],
        ids=["one", "spaces", "lines", "line break", "unicode", "quotes", "long"],
    )
    def test_a_value_comes_back_as_it_was_put(
        self, store: SecretStore, open_store: Callable[[], SecretStore], witness: Witness, value: str
    ) -> None:
        """By this opening of the store, by another, and by the witness."""
        store.put(REPO, "NAME", value)
        assert store.get(REPO, "NAME") == value
        assert open_store().get(REPO, "NAME") == value
        assert witness.read(REPO, "NAME") == value

    def test_what_another_wrote_is_read(self, store: SecretStore, witness: Witness) -> None:
        """The store keeps nothing in memory that the medium does not have."""
        store.put(REPO, "NAME", "mine")
        witness.write(REPO, "NAME", "theirs")
        witness.write(REPO, "NEW", "new")
        assert store.get(REPO, "NAME") == "theirs"
        assert list(store.list(REPO)) == ["NAME", "NEW"]

    def test_an_empty_value_is_refused_or_kept(self, store: SecretStore) -> None:
        """Never something else instead."""
        store.put(REPO, "OTHER", "x")
        try:
            store.put(REPO, "NAME", "")
        except InputError:
            assert list(store.list(REPO)) == ["OTHER"]
        else:
            assert store.get(REPO, "NAME") == ""

    def test_a_value_is_replaced(self, store: SecretStore) -> None:
        """Shorter after longer, too."""
        store.put(REPO, "NAME", "a long first value")
        store.put(REPO, "NAME", "short")
        assert store.get(REPO, "NAME") == "short"
        assert list(store.list(REPO)) == ["NAME"]

    def test_what_is_not_there_is_not_found(self, store: SecretStore) -> None:
        """In an empty store, in one that has others, and after it was deleted."""
        assert list(store.list(REPO)) == []
        for _ in range(2):
            with pytest.raises(NotFoundError):
                store.get(REPO, "NAME")
            with pytest.raises(NotFoundError):
                store.delete(REPO, "NAME")
            store.put(REPO, "NAM", "x")
            store.put(REPO, "NAME_", "x")
            store.put(REPO, "NAME", "x")
            store.delete(REPO, "NAME")
        assert list(store.list(REPO)) == ["NAM", "NAME_"]

    def test_names_differ_by_case(self, store: SecretStore) -> None:
        """As environment variables do."""
        store.put(REPO, "name", "small")
        store.put(REPO, "NAME", "large")
        assert (store.get(REPO, "name"), store.get(REPO, "NAME")) == ("small", "large")

    @pytest.mark.parametrize("other", [OTHER, "bob/digits", "ann", "ann/digits/more", "ann/dig its-ö"])
    def test_repositories_do_not_see_each_other(self, store: SecretStore, other: str) -> None:
        """Not even when one's name begins as the other's does."""
        store.put(REPO, "NAME", "ours")
        store.put(other, "NAME", "theirs")
        store.put(other, "THEIRS", "theirs")
        assert store.get(REPO, "NAME") == "ours"
        assert list(store.list(REPO)) == ["NAME"]
        with pytest.raises(NotFoundError):
            store.get(REPO, "THEIRS")
        store.delete(other, "NAME")
        assert store.get(REPO, "NAME") == "ours"

    def test_nothing_but_the_store_tells_a_value(
        self, store: SecretStore, open_store: Callable[[], SecretStore]
    ) -> None:
        """No error, no traceback, no `repr`, no copy of the store that travels to another process."""
        store.put(REPO, "NAME", CANARY)
        told = [repr(store), str(store), str(pickle.dumps(open_store))]
        for act in (lambda: store.get(REPO, "NAM"), lambda: store.delete(REPO, "NAM")):
            try:
                act()
            except NotFoundError as error:
                told += [str(error), str(error.hint), *traceback.format_exception(error)]
        try:
            store.put(REPO, "NUL", f"{CANARY}\0")
        except InputError as error:
            told += [str(error), str(error.hint)]
        assert len(told) > 6
        assert [text for text in told if CANARY in text] == []

    def test_processes_put_and_delete_at_once(self, open_store: Callable[[], SecretStore]) -> None:
        """Nobody's secret is lost, and none that was deleted comes back."""
        contend(put_own, [(open_store, me, self.rounds) for me in range(PROCESSES)])
        store = open_store()
        for repo in range(2):
            kept = {f"SECRET_{me}_{n}": f"value {n} of {me}" for me in range(repo, PROCESSES, 2)
                    for n in range(0, self.rounds, 2)}  # fmt: skip
            assert {name: store.get(f"ann/repo{repo}", name) for name in store.list(f"ann/repo{repo}")} == kept
        assert store.get("ann/shared", "SHARED") in {f"by {me}" for me in range(PROCESSES)}

    def test_a_writer_that_is_killed_leaves_one_value_or_the_other(self, open_store: Callable[[], SecretStore]) -> None:
        """Whole, and the next one can write."""
        store = open_store()
        store.put("ann/repo", "KEPT", "kept")
        for n in range(self.kills):
            writer = Contestant(put_for_ever, open_store)
            writer.go()
            deadline = time.monotonic() + 30
            while "NAME" not in store.list("ann/repo") and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.003 * n)  # another instruction each time
            writer.kill()
            assert store.get("ann/repo", "NAME") in ("a" * 10_000, "b" * 10_000)
            store.delete("ann/repo", "NAME")
        assert store.get("ann/repo", "KEPT") == "kept"
