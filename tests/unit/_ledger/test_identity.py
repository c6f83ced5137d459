"""A store's id is one, whoever asks first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from dstack_local.store import FolderStore

from dstack_core._ledger.identity import store_id


@pytest.fixture
def store(tmp_path):
    return FolderStore({"path": str(tmp_path / "store")})


def test_it_stays(store):
    first = store_id(store)
    assert len(first) == 16
    assert store_id(store) == first


def test_many_who_ask_at_once_get_one(store):
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store_id(store), range(32)))) == 1


def test_stores_differ(store, tmp_path):
    assert store_id(FolderStore({"path": str(tmp_path / "other")})) != store_id(store)
