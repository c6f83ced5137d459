"""What an artifact store may be able to do beside what it must: a part of the store suite."""

from __future__ import annotations

import pytest

from dstack_core.artifact_store import ArtifactStore, SupportsAppend, SupportsPath
from dstack_core.errors import ConflictError


class OptionalAbilities:
    """Tests of `SupportsAppend` and `SupportsPath`, for stores that are. Uses the suite's fixture `store`."""

    @pytest.fixture
    def growing(self, store: ArtifactStore) -> SupportsAppend:
        """The store, if its objects can grow."""
        if not isinstance(store, SupportsAppend):
            pytest.skip("not a SupportsAppend")
        return store

    def test_an_object_grows(self, growing: SupportsAppend, store: ArtifactStore) -> None:
        """Readers see each piece at once."""
        growing.append("log/1", b"one ", 0)
        assert store.read("log/1").data == b"one "
        growing.append("log/1", b"two ", 4)
        growing.append("log/1", b"", 8)
        growing.append("log/1", b"three", 8, last=True)
        assert store.read("log/1").data == b"one two three"
        assert store.read("log/1", 4, 3).data == b"two"
        assert [(o.key, o.size) for o in store.list("log/")] == [("log/1", 13)]

    @pytest.mark.parametrize("offset", [0, 2, 5, 100])
    def test_a_piece_for_elsewhere_is_refused(self, growing: SupportsAppend, store: ArtifactStore, offset: int) -> None:
        """Two writers of one log cannot mix."""
        growing.append("log", b"one ", 0)
        with pytest.raises(ConflictError):
            growing.append("log", b"two", offset)
        with pytest.raises(ConflictError):
            growing.append("other", b"two", offset or 1)
        assert store.read("log").data == b"one "
        assert not store.exists("other")

    def test_an_object_has_a_path(self, store: ArtifactStore) -> None:
        """Whose file has the object's bytes; asking for it makes nothing."""
        if not isinstance(store, SupportsPath):
            pytest.skip("not a SupportsPath")
        store.write("a/b", b"bytes")
        assert store.path("a/b").read_bytes() == b"bytes"
        assert not store.path("a/c").exists()
