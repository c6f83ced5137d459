"""Every test has a dstack folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("dstack_core.testing")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DSTACK_HOME", str(path))
    return path
