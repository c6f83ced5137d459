"""What an artifact store may be able to do beside what it must: a part of the store suite."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from dstack_core.artifact_store import ArtifactStore, SupportsAppend, SupportsLinks, SupportsPath
from dstack_core.errors import ConflictError


class OptionalAbilities:
    """Tests of `SupportsAppend`, `SupportsPath` and `SupportsLinks`, for stores that are. Uses the
    suite's fixture `store`."""

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

    @pytest.fixture
    def linking(self, store: ArtifactStore) -> SupportsLinks:
        """The store, if its objects have addresses."""
        if not isinstance(store, SupportsLinks):
            pytest.skip("not a SupportsLinks")
        return store

    def test_an_object_has_an_address(self, linking: SupportsLinks, store: ArtifactStore) -> None:
        """For whoever has no credentials; it is good for this object only."""
        store.write("a/b", b"bytes")
        url = linking.link("a/b", 60)
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.read() == b"bytes"
        for changed in (url.replace("a/b", "a/c"), url.partition("?")[0]):
            with pytest.raises(urllib.error.HTTPError), urllib.request.urlopen(changed, timeout=30):
                pass

    def test_an_object_can_be_put_at_an_address(self, linking: SupportsLinks, store: ArtifactStore) -> None:
        """It is like any other then: read, listed, and replaced by version."""
        _put(linking.link("a/b", 60, write=True), b"bytes")
        found = store.read("a/b")
        assert found.data == b"bytes"
        assert [(o.key, o.size) for o in store.list("a/")] == [("a/b", 5)]
        store.write("a/b", b"newer", found.version)
        assert store.read("a/b").data == b"newer"


def _put(url: str, data: bytes) -> None:
    request = urllib.request.Request(url, data, {"Content-Type": ""}, method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass
