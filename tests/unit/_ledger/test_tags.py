"""Tags that several people move and delete at once."""

from __future__ import annotations

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger import documents
from dstack_core._ledger.records import TagRecord
from dstack_core._ledger.tags import delete_tag, read_tag, write_tag
from dstack_core.errors import ConflictError

OLD, NEW = (TagRecord("best", "repo", user, 0.0, ()) for user in ("ann", "bob"))


class DeletedMeanwhile(FolderStore):
    """Whoever is told that a tag is there already finds it deleted when he looks, `times` times."""

    times = 0

    def write(self, key, data, expect="*any*"):
        try:
            return super().write(key, data, expect)
        except ConflictError:
            if self.times:
                self.times -= 1
                self.delete(key)
            raise


class DeletedLater(FolderStore):
    """The same, but found there once more."""

    times = 0

    def read(self, key, start=0, length=None):
        found = super().read(key, start, length)
        if self.times:
            self.times -= 1
            self.delete(key)
        return found


@pytest.mark.parametrize("kind", [DeletedMeanwhile, DeletedLater])
def test_a_tag_that_is_deleted_while_it_is_moved_is_made(tmp_path, kind):
    store = kind({"path": str(tmp_path / "store")})
    write_tag(store, OLD)
    store.times = 1
    write_tag(store, NEW, move=True)
    assert read_tag(store, "repo", "best") == NEW


def test_a_lost_race_with_somebody_who_removes_it_again_is_a_lost_race(tmp_path):
    store = DeletedMeanwhile({"path": str(tmp_path / "store")})
    documents.create(store, "a", OLD)
    store.times = 1
    with pytest.raises(ConflictError):
        documents.create(store, "a", NEW)


def test_a_tag_that_is_there_is_only_moved_on_demand(tmp_path):
    store = FolderStore({"path": str(tmp_path / "store")})
    write_tag(store, OLD)
    with pytest.raises(ConflictError):
        write_tag(store, NEW)
    assert read_tag(store, "repo", "best") == OLD
    delete_tag(store, "repo", "best")
    write_tag(store, NEW)
    assert read_tag(store, "repo", "best") == NEW
