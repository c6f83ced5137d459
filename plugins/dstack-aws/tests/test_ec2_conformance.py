"""The backend `ec2` is a backend, and its machines are real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from aws_box import Account, Box
from dstack_aws.ec2_backend import Ec2Backend
from ec2_settings import settings_of

from dstack_core.testing.backend import BackendSuite


@pytest.fixture(scope="module")
def account(aws_box: Box) -> Iterator[Account]:
    """One for the whole suite, whose lists are fetched once."""
    account = aws_box.account()
    yield account
    account.close()


class TestEc2Backend(BackendSuite):
    patience = 60.0

    @pytest.fixture
    def backend(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> Ec2Backend:
        for name, value in account.environ.items():
            monkeypatch.setenv(name, value)
        return Ec2Backend(settings_of(account))

    def runner(self, machine: str, seconds: float) -> Sequence[str]:
        return ("python3", "-c", "import sys, time; time.sleep(float(sys.argv[1]))", str(seconds), machine)
