"""Stores for the tests of `_content`: one in memory that does what the contract demands, and the folder store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstack_core.artifact_store import ABSENT, ANY, ArtifactStore, Object, ObjectInfo
from dstack_core.errors import ConflictError, NotFoundError, StoreError


class MemoryStore(ArtifactStore):
    """Objects in a dict. `fail`: how many of the next writes fail; `lost`: how many succeed and say they failed."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.fail = 0
        self.lost = 0
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        return f"memory:{id(self)}"

    def read(self, key: str, start: int = 0, length: int | None = None) -> Object:
        with self._lock:
            self.calls.append(("read", key))
            if key not in self.objects:
                raise NotFoundError(f"no {key}")
            data = self.objects[key]
            end = len(data) if length is None else start + length
            return Object(data[start:end], hashlib.sha256(data).hexdigest())

    def write(self, key: str, data: bytes | memoryview, expect: str = ANY) -> str:
        with self._lock:
            self.calls.append(("write", key))
            self._maybe_fail()
            there = self.objects.get(key)
            if expect == ABSENT and there is not None:
                raise ConflictError(f"{key} is there")
            if expect not in (ANY, ABSENT) and (there is None or hashlib.sha256(there).hexdigest() != expect):
                raise ConflictError(f"{key} changed")
            self.objects[key] = bytes(data)
            self._maybe_lose()
            return hashlib.sha256(data).hexdigest()

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            self.calls.append(("list", prefix))
            found = sorted(k for k in self.objects if k.startswith(prefix) and k > after)
        return iter([ObjectInfo(k, len(self.objects[k]), "") for k in found])

    def delete(self, key: str, expect: str = ANY) -> None:
        with self._lock:
            self.objects.pop(key, None)

    def writes(self) -> list[str]:
        """The keys of all writes so far."""
        return [key for what, key in self.calls if what in ("write", "append")]

    def _maybe_fail(self) -> None:
        if self.fail:
            self.fail -= 1
            raise StoreError("the store is down")

    def _maybe_lose(self) -> None:
        if self.lost:
            self.lost -= 1
            raise StoreError("the answer was lost")


class GrowingStore(MemoryStore):
    """One whose objects can grow. `torn`: how many of the next appends write a half and fail."""

    torn = 0

    def append(self, key: str, data: bytes, offset: int, last: bool = False) -> None:
        with self._lock:
            self.calls.append(("append", key))
            self._maybe_fail()
            there = self.objects.get(key, b"")
            if len(there) != offset:
                raise ConflictError(f"{key} has {len(there)} bytes, not {offset}")
            if self.torn:
                self.torn -= 1
                self.objects[key] = there + data[: len(data) // 2]
                raise StoreError("cut")
            self.objects[key] = there + bytes(data)
            self._maybe_lose()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def memory_store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def growing_store() -> GrowingStore:
    return GrowingStore()


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "memory":
        return MemoryStore()
    local = pytest.importorskip("dstack_local.store")
    return local.FolderStore({"path": str(tmp_path / "store")})


@pytest.fixture(params=["segments", "growing", "folder"])
def log_store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return pytest.importorskip("dstack_local.store").FolderStore({"path": str(tmp_path / "store")})
    return GrowingStore() if request.param == "growing" else MemoryStore()
