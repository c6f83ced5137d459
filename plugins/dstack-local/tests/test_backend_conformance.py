"""The local backend is a backend."""

from __future__ import annotations

import pytest
from dstack_local.backend import LocalBackend

from dstack_core.testing.backend import BackendSuite


class TestLocalBackend(BackendSuite):
    @pytest.fixture
    def backend(self) -> LocalBackend:
        return LocalBackend({})
