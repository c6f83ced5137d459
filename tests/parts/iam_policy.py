"""Which actions a policy of IAM names, and which ones calls to AWS need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NEEDED = {
    # What S3 calls an action, where it is not named as its call is
    "HeadObject": "GetObject", "CreateMultipartUpload": "PutObject", "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject", "ListObjectsV2": "ListBucket", "ListObjects": "ListBucket",
    "HeadBucket": "ListBucket", "ListMultipartUploads": "ListBucketMultipartUploads",
}  # fmt: skip


def allowed(policy: Mapping[str, Any]) -> set[str]:
    """The actions that it allows."""
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def needed(calls: Iterable[Mapping[str, Any]]) -> set[str]:
    """The actions that recorded calls needed."""
    return {f"{call['service']}:{NEEDED.get(call['action'], call['action'])}" for call in calls}
