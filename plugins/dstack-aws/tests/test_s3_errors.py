"""What a user reads when a bucket cannot be used: one sentence that says why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dstack_aws.s3_store import S3Store
from fault_proxy import Fault, FaultProxy, s3_error
from weed import S3Server

from dstack_core.artifact_store import ABSENT
from dstack_core.errors import CredentialsError, DstackError, InputError, StoreError

ACTS: dict[str, Callable[[S3Store], object]] = {
    "read": lambda store: store.read("a/key"),
    "write": lambda store: store.write("a/key", b"x", ABSENT),
    "list": lambda store: list(store.list("a/")),
    "exists": lambda store: store.exists("a/key"),
    "delete": lambda store: store.delete("a/key"),
}
every_act = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(moto.endpoint) as running:
        yield running


def of(error: DstackError) -> tuple[str, str]:
    assert "\n" not in f"{error}{error.hint}"
    return error.message.partition(": ")[2], error.hint or ""


def failure(act: Callable[[S3Store], object], settings: dict[str, Any]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        act(S3Store(settings))
    return caught.value


@every_act
def test_a_missing_bucket(act, moto):
    error = failure(act, {"bucket": "there-is-none", "endpoint_url": moto.endpoint})
    assert of(error) == ("there is no such bucket",
                         "create it, or choose another: dstack config set settings.s3.bucket NAME")  # fmt: skip
    assert error.lasting
    assert error.where == f"{moto.endpoint}/there-is-none"


@every_act
def test_wrong_credentials(act, weed, monkeypatch, own_prefix):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    error = failure(act, {"bucket": weed.bucket, "prefix": own_prefix, "endpoint_url": weed.endpoint})
    assert isinstance(error, CredentialsError)
    assert (error.owner, error.exit_code, error.lasting) == ("credentials", 77, True)
    assert of(error) == ("the server does not accept these credentials (InvalidAccessKeyId)", "aws configure")


@every_act
def test_a_wrong_secret_key(act, weed, monkeypatch, own_prefix):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    error = failure(act, {"bucket": weed.bucket, "prefix": own_prefix, "endpoint_url": weed.endpoint})
    assert of(error)[0] == "the server does not accept these credentials (SignatureDoesNotMatch)"


@every_act
def test_no_credentials(act, weed, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    error = failure(act, {"bucket": weed.bucket, "endpoint_url": weed.endpoint})
    assert isinstance(error, CredentialsError)
    assert of(error) == ("there are no AWS credentials", "aws configure")


@every_act
def test_an_expired_token(act, moto, proxy, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile team]\naws_access_key_id = k\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    body = s3_error("ExpiredToken", "The provided token has expired.")
    proxy.add(Fault("answer", status=400, body=body, times=10))
    error = failure(act, {"bucket": moto.bucket, "endpoint_url": proxy.address, "profile": "team"})
    assert of(error) == ("the AWS credentials have expired", "aws sso login --profile team, or get new keys")
    assert isinstance(error, CredentialsError)


@every_act
def test_access_is_denied(act, moto, proxy):
    said = "User: arn:aws:iam::1:user/ann is not authorized to perform: s3:GetObject"
    proxy.add(Fault("answer", status=403, body=s3_error("AccessDenied", said), times=10))
    error = failure(act, {"bucket": moto.bucket, "endpoint_url": proxy.address})
    assert of(error)[0] == f"access denied ({said})"
    assert isinstance(error, CredentialsError)
    assert error.lasting


@every_act
@pytest.mark.parametrize("status", [301, 400])
def test_a_wrong_region(act, moto, proxy, status):
    code = "PermanentRedirect" if status == 301 else "AuthorizationHeaderMalformed"
    body = s3_error(code, "elsewhere", "<Region>eu-west-1</Region>")
    proxy.add(Fault("answer", status=status, body=body, headers={"x-amz-bucket-region": "eu-west-1"}, times=10))
    error = failure(act, {"bucket": moto.bucket, "endpoint_url": proxy.address, "region": "us-east-1"})
    assert of(error) == ("wrong region: it is in eu-west-1", "dstack config set settings.s3.region eu-west-1")
    assert error.lasting
    assert len(proxy.requests) == 1


@every_act
def test_no_server(act):
    error = failure(act, {"bucket": "bucket", "endpoint_url": "http://127.0.0.1:9", "patience": 0.2})
    assert of(error)[0].startswith("no connection (")
    assert "settings.s3.endpoint_url" in of(error)[1]
    assert not error.lasting


@every_act
def test_no_such_profile(act, moto):
    error = failure(act, {"bucket": moto.bucket, "endpoint_url": moto.endpoint, "profile": "nobody"})
    assert of(error)[0] == "AWS has no profile nobody"


def test_a_wrong_clock(moto, proxy):
    proxy.add(Fault("answer", status=403, body=s3_error("RequestTimeTooSkewed")))
    error = failure(ACTS["read"], {"bucket": moto.bucket, "endpoint_url": proxy.address})
    assert of(error) == ("this machine's clock is wrong", "set this machine's clock")


def test_something_else(moto, proxy):
    proxy.add(Fault("answer", status=400, body=s3_error("KMS.DisabledException", "The key is disabled.\nReally.")))
    error = failure(ACTS["write"], {"bucket": moto.bucket, "endpoint_url": proxy.address})
    assert of(error)[0] == "The key is disabled. (KMS.DisabledException)"
    assert error.lasting


def test_no_bucket_is_set():
    with pytest.raises(InputError, match="s3 needs the setting `bucket`") as caught:
        S3Store({})
    assert caught.value.hint == "dstack config set settings.s3.bucket NAME"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "ä", "a" * 256, "a/" * 300 + "b", "a\n"])
def test_what_is_no_key_is_refused(key):
    store = S3Store({"bucket": "bucket"})
    for act in (store.read, store.exists, store.delete):
        with pytest.raises(StoreError, match="not a key"):
            act(key)
    with pytest.raises(StoreError, match="not a key"):
        store.write(key, b"")
