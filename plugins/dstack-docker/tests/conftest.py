"""Every test has a dstack folder of its own; all share an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker_engine import engine
from docker_images import busybox, conda_image, python_image
from docker_registry import registry

__all__ = ["busybox", "conda_image", "engine", "python_image", "registry"]
pytest.register_assert_rewrite("dstack_core.testing")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DSTACK_HOME", str(path))
    return path
