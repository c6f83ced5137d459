"""The file of secrets is a secret store."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest
from dstack_local.secret_file import FileSecretStore

from dstack_core.testing.secret_store import SecretStoreSuite


class PlainFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, repo: str, name: str) -> str | None:
        return json.loads(self._path.read_text())["repos"].get(repo, {}).get(name)

    def write(self, repo: str, name: str, value: str) -> None:
        plain = json.loads(self._path.read_text()) if self._path.exists() else {"format": 1, "repos": {}}
        plain["repos"].setdefault(repo, {})[name] = value
        self._path.write_text(json.dumps(plain))
        os.chmod(self._path, 0o600)


class TestFileSecretStore(SecretStoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> functools.partial[FileSecretStore]:
        return functools.partial(FileSecretStore, {"path": str(tmp_path / "secrets.json")})

    @pytest.fixture
    def witness(self, tmp_path: Path) -> PlainFile:
        return PlainFile(tmp_path / "secrets.json")
