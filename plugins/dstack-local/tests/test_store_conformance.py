"""The folder store is an artifact store."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from dstack_local.store import FolderStore

from dstack_core.testing.artifact_store import ArtifactStoreSuite


class PlainFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.is_file() else None

    def write(self, key: str, data: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def keys(self) -> list[str]:
        return [str(path.relative_to(self._root)) for path in self._root.rglob("*") if path.is_file()]


class TestFolderStore(ArtifactStoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> functools.partial[FolderStore]:
        return functools.partial(FolderStore, {"path": str(tmp_path / "store")})

    @pytest.fixture
    def witness(self, tmp_path: Path) -> PlainFiles:
        return PlainFiles(tmp_path / "store" / "objects")

    @pytest.fixture
    def broken_store(self, tmp_path: Path) -> FolderStore:
        # Root may read everything, so permissions would prove nothing: a link that leads to itself fails for all.
        (tmp_path / "objects").symlink_to(tmp_path / "objects")
        return FolderStore({"path": str(tmp_path)})
