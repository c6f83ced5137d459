"""The store in Secrets Manager is a secret store."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from dstack_aws.secrets_store import SecretsManagerStore
from weed import S3Server

from dstack_core.errors import NotFoundError
from dstack_core.testing.secret_store import SecretStoreSuite


class SdkAlone:
    """The SDK, without anything of ours; for repositories whose names need no escapes."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self._client = server.client("secretsmanager")
        self._prefix = prefix

    def read(self, repo: str, name: str) -> str | None:
        return self._client.get_secret_value(SecretId=f"{self._prefix}/{repo}/{name}")["SecretString"]

    def write(self, repo: str, name: str, value: str) -> None:
        full = f"{self._prefix}/{repo}/{name}"
        try:
            self._client.put_secret_value(SecretId=full, SecretString=value)
        except self._client.exceptions.ResourceNotFoundException:
            self._client.create_secret(Name=full, SecretString=value)


@pytest.fixture
def given(moto: S3Server, own_prefix: str) -> dict[str, Any]:
    return {"prefix": own_prefix, "endpoint_url": moto.endpoint}


class TestSecretsManager(SecretStoreSuite):
    @pytest.fixture
    def open_store(self, given: dict[str, Any]) -> functools.partial[SecretsManagerStore]:
        return functools.partial(SecretsManagerStore, given)

    @pytest.fixture
    def witness(self, moto: S3Server, own_prefix: str) -> SdkAlone:
        return SdkAlone(moto, own_prefix)


def test_a_secret_that_waits_for_its_deletion_is_gone_and_can_be_put_again(moto, given, own_prefix):
    store = SecretsManagerStore(given)
    store.put("ann/digits", "NAME", "old")
    moto.client("secretsmanager").delete_secret(SecretId=f"{own_prefix}/ann/digits/NAME", RecoveryWindowInDays=7)
    assert list(store.list("ann/digits")) == []
    with pytest.raises(NotFoundError):
        store.get("ann/digits", "NAME")
    with pytest.raises(NotFoundError):
        store.delete("ann/digits", "NAME")
    store.put("ann/digits", "NAME", "new")
    assert store.get("ann/digits", "NAME") == "new"


def test_many_secrets_are_listed(given):
    store = SecretsManagerStore(given)
    names = [f"NAME_{n:03}" for n in range(120)]  # more than a page
    for name in names:
        store.put("ann/digits", name, "x")
    assert list(store.list("ann/digits")) == names
