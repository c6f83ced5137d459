"""Listings of a bucket: page by page, in the order of the keys' bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dstack_aws.s3_bucket import KEY, Bucket
from dstack_aws.s3_order import in_byte_order, start_before
from dstack_core.artifact_store import ObjectInfo


def list_objects(bucket: Bucket, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """See `ArtifactStore.list`."""
    if after > prefix and not after.startswith(prefix):
        return
    start = after if after > prefix else ""
    if bucket.on_aws:
        yield from _found(bucket, prefix, start)
        return
    found = in_byte_order(_found(bucket, prefix, start and start_before(prefix, start)), prefix)
    for info in found:
        if info.key > after:
            yield info


def _found(bucket: Bucket, prefix: str, start: str) -> Iterator[ObjectInfo]:
    skip = len(bucket.prefix)
    for page in _pages(bucket, prefix, start):
        for item in page.get("Contents", ()):
            key = item["Key"][skip:]
            if KEY.match(key):
                yield ObjectInfo(key, item["Size"], f"{item['ETag']} {item['LastModified'].isoformat()}")


def _pages(bucket: Bucket, prefix: str, start: str) -> Iterator[dict[str, Any]]:
    asked = {**bucket.everywhere, "Prefix": bucket.prefix + prefix}
    if start:
        asked["StartAfter"] = bucket.prefix + start
    while True:
        page = bucket.calls.call(f"list {prefix or 'the store'}", lambda client: client.list_objects_v2(**asked))
        yield page
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]
