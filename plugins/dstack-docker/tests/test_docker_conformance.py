"""The docker executor is an executor."""

from __future__ import annotations

import functools

import pytest
from dstack_docker.executor import DockerExecutor

from dstack_core.testing.executor import ExecutorSuite


class TestDockerExecutor(ExecutorSuite):
    server = "httpd -f -p {port}"

    @pytest.fixture
    def open_executor(self) -> functools.partial[DockerExecutor]:
        return functools.partial(DockerExecutor, {})

    @pytest.fixture(autouse=True)
    def image(self, busybox: str) -> None:
        self.task = {"image": busybox}
