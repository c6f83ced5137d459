"""A bucket, or a folder of one, and the server that it is on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dstack_aws.account import PATIENCE, Account
from dstack_aws.calls import Calls
from dstack_core.errors import InputError, StoreError

KEY: Final = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._%=+-]{1,255}/)*(?!\.{1,2}\Z)[A-Za-z0-9._%=+-]{1,255}\Z")
OWNER: Final = "x-amz-expected-bucket-owner"
VARIABLE: Final = "AWS_ENDPOINT_URL_S3"


class Bucket:
    """What the settings name: where it is, what every request says of it, and the calls.

    Attributes:
        on_aws: whether the server is AWS.
        everywhere: parameters of each request.
        encryption: parameters of each request that makes an object.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if not settings.get("bucket"):
            raise InputError("s3 needs the setting `bucket`", hint="dstack config set settings.s3.bucket NAME")
        self.name = str(settings["bucket"])
        prefix = str(settings.get("prefix") or "").strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        account = Account.of("s3", settings)
        endpoint = account.other_than_aws(VARIABLE)
        self.on_aws = endpoint is None or ".amazonaws.com" in endpoint
        self.everywhere: dict[str, Any] = {"Bucket": self.name}
        if settings.get("expected_bucket_owner"):
            self.everywhere["ExpectedBucketOwner"] = str(settings["expected_bucket_owner"])
        self.encryption = _encryption(settings)
        self.location = f"{endpoint}/{self.name}/{prefix}" if endpoint else f"s3://{self.name}/{prefix}"
        self.location = self.location.rstrip("/")
        addressing = str(settings.get("addressing") or "auto")
        if addressing == "auto" and not self.on_aws:
            addressing = "path"
        self.calls = Calls(
            account,
            lambda: _client(account, addressing, regionless=endpoint is not None),
            self.location,
            float(settings.get("patience", PATIENCE)),
        )

    def look(self, act: str) -> None:
        """Make sure that there is a bucket, unless it is known. Raises StoreError."""
        if not self.calls.succeeded:
            asked = {**self.everywhere, "Prefix": self.prefix, "MaxKeys": 1}
            self.calls.call(act, lambda client: client.list_objects_v2(**asked))

    def place(self, key: str) -> dict[str, Any]:
        """Parameters that name the object of this key. Raises StoreError: it is none."""
        if len(key) > 512 or not KEY.match(key):
            raise StoreError(f"not a key: {key[:600]!r}")
        return {**self.everywhere, "Key": self.prefix + key}


def _client(account: Account, addressing: str, *, regionless: bool) -> Any:
    client = account.client(
        "s3",
        regionless=regionless,
        s3={"addressing_style": addressing},
        signature_version="s3v4",  # of links, too: the SDK's own choice for them is an older one
        # We send and check a CRC of our own, which every server can keep.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client.meta.events.register("before-sign.s3", _put_owner_into_link)
    return client


def _put_owner_into_link(request: Any, signature_version: str, **_: Any) -> None:
    """Whoever uses a link sends no headers of ours. S3 heeds this one in an address, too, in small letters only."""
    if signature_version.endswith("-query") and OWNER in request.headers:
        request.params = {**request.params, OWNER: request.headers[OWNER]}
        del request.headers[OWNER]


def _encryption(settings: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    if settings.get("encryption") or settings.get("kms_key"):
        found["ServerSideEncryption"] = str(settings.get("encryption") or "aws:kms")
    if settings.get("kms_key"):
        found["SSEKMSKeyId"] = str(settings["kms_key"])
    return found
