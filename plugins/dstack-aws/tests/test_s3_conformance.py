"""The S3 store is an artifact store, on two servers that have nothing in common."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from dstack_aws.s3_store import S3Store
from weed import S3Server

from dstack_core.testing.artifact_store import ArtifactStoreSuite


class SdkAlone:
    """The SDK, without anything of ours."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self._client = server.client()
        self._bucket = server.bucket
        self._prefix = f"{prefix}/"

    def read(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None

    def write(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def keys(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return [found["Key"][len(self._prefix) :] for page in pages for found in page.get("Contents", ())]


class S3Suite(ArtifactStoreSuite):
    @pytest.fixture
    def open_store(self, server: S3Server, own_prefix: str) -> functools.partial[S3Store]:
        settings: dict[str, Any] = {"bucket": server.bucket, "prefix": own_prefix, "endpoint_url": server.endpoint}
        return functools.partial(S3Store, settings)

    @pytest.fixture
    def witness(self, server: S3Server, own_prefix: str) -> SdkAlone:
        return SdkAlone(server, own_prefix)


class TestOnWeed(S3Suite):
    many = 2100  # three pages
    rounds = 3  # it makes conditional writers of one key wait for seconds

    @pytest.fixture
    def server(self, weed: S3Server) -> S3Server:
        return weed

    @pytest.fixture
    def broken_store(self) -> S3Store:
        # Nobody listens there.
        return S3Store({"bucket": "nobody", "endpoint_url": "http://127.0.0.1:9", "patience": 0})


class TestOnMoto(S3Suite):
    many = 1100  # two pages: it is slow
    rounds = 10

    @pytest.fixture
    def server(self, moto: S3Server) -> S3Server:
        return moto

    @pytest.fixture
    def broken_store(self, moto: S3Server) -> S3Store:
        return S3Store({"bucket": "there-is-none", "endpoint_url": moto.endpoint})
