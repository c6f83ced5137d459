"""Every test has a dstack folder of its own and no credentials of the developer's; all share the servers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from aws_box import aws, aws_box
from moto_server import moto
from weed import S3Server, weed

__all__ = ["aws", "aws_box", "moto", "weed"]
pytest.register_assert_rewrite("dstack_core.testing")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DSTACK_HOME", str(path))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in S3Server("").environ.items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def own_prefix() -> str:
    """A folder of the bucket for one test."""
    return f"test-{os.urandom(6).hex()}"


@pytest.fixture
def settings(weed: S3Server, own_prefix: str) -> dict[str, Any]:
    """Of an empty store on the server that heeds conditions."""
    return {"bucket": weed.bucket, "prefix": own_prefix, "endpoint_url": weed.endpoint, "patience": 30}
