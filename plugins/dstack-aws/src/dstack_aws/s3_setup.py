"""Making the bucket that the settings name, and the rule by which what was never completed costs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

from dstack_aws.failures import Refused
from dstack_aws.s3_bucket import Bucket

DAYS: Final = 7
"""After which an upload in parts that nobody completed is removed."""
NO_LOCATION: Final = "us-east-1"
"""The region that must not be named: see `LocationConstraint` in the API reference of CreateBucket."""
_RULE: Final = {
    "ID": "dstack-unfinished-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": DAYS},
}
_UNABLE: Final = ("AccessDenied", "403", "NotImplemented", "501", "MethodNotAllowed")
"""Answers of servers that have no such rules, or to those who may not see them: then none is offered."""
_PRIVATE: Final = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def lacking(bucket: Bucket) -> list[str]:
    """What `set_up` would make, for people. Raises StoreError."""
    if not _exists(bucket):
        return [f"the bucket {bucket.name}, private; unfinished uploads are removed after {DAYS} days"]
    if _rules(bucket) == []:
        return [f"a rule of the bucket {bucket.name} that removes unfinished uploads after {DAYS} days"]
    return []


def set_up(bucket: Bucket) -> None:
    """Make the bucket and its rule. What is there already stays as it is. Raises StoreError."""
    if not _exists(bucket):
        bucket.calls.call(
            "create the bucket", lambda client: _create(client, bucket.name), ("BucketAlreadyOwnedByYou",)
        )
        _exists(bucket)  # raises if these are credentials of another account than the bucket is to belong to
        # S3 has blocked public access to new buckets since April 2023; other servers may not.
        private = dict.fromkeys(_PRIVATE, True)
        _try(bucket, "block public access", lambda client: client.put_public_access_block(
            **bucket.everywhere, PublicAccessBlockConfiguration=private))  # fmt: skip
    if _rules(bucket) == []:
        _try(bucket, "add a rule to the bucket", lambda client: client.put_bucket_lifecycle_configuration(
            **bucket.everywhere, LifecycleConfiguration={"Rules": [_RULE]}))  # fmt: skip


def _try(bucket: Bucket, act: str, work: Callable[[Any], Any]) -> None:
    """Do what the bucket works without, if it can be done: `dstack gc` removes unfinished uploads, too."""
    with contextlib.suppress(Refused):
        bucket.calls.call(act, work, _UNABLE)


def _create(client: Any, name: str) -> None:
    region = client.meta.region_name
    place = {} if region == NO_LOCATION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=name, **place)


def _exists(bucket: Bucket) -> bool:
    asked = {**bucket.everywhere, "Prefix": bucket.prefix, "MaxKeys": 1}
    try:
        bucket.calls.call("find the bucket", lambda client: client.list_objects_v2(**asked), ("NoSuchBucket",))
    except Refused:
        return False
    return True


def _rules(bucket: Bucket) -> list[Any] | None:
    """The bucket's rules; None if the server has none, or does not show them."""
    tolerated = ("NoSuchLifecycleConfiguration", *_UNABLE)
    try:
        found = bucket.calls.call(
            "read the rules of the bucket",
            lambda client: client.get_bucket_lifecycle_configuration(**bucket.everywhere),
            tolerated,
        )
    except Refused as refused:
        return [] if refused.code == tolerated[0] else None
    rules: list[Any] = found.get("Rules", [])
    return rules
