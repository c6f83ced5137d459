"""The process executor is an executor."""

from __future__ import annotations

import functools

import pytest
from dstack_local.process import ProcessExecutor

from dstack_core.testing.executor import ExecutorSuite


class TestProcessExecutor(ExecutorSuite):
    supports_places = False
    supports_memory = False

    @pytest.fixture
    def open_executor(self) -> functools.partial[ProcessExecutor]:
        return functools.partial(ProcessExecutor, {})
