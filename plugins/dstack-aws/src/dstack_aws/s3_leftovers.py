"""Uploads in parts that nobody will complete: their writers were killed, and their parts cost money unseen."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final

from dstack_aws.s3_bucket import Bucket

OLD: Final = timedelta(days=1)
"""No writer takes so long for one object."""


def abort_leftovers(bucket: Bucket) -> int:
    """Abort the old ones below the store's prefix; how many. Raises StoreError."""
    asked: dict[str, Any] = {**bucket.everywhere, "Prefix": bucket.prefix}
    aborted = 0
    while True:
        page = bucket.calls.call("clean up", lambda client: client.list_multipart_uploads(**asked))
        now = _server_time(page)
        for upload in page.get("Uploads", ()):
            if now - upload["Initiated"] > OLD:
                _abort(bucket, {"Key": upload["Key"], "UploadId": upload["UploadId"]})
                aborted += 1
        if not page.get("IsTruncated"):
            return aborted
        asked["KeyMarker"], asked["UploadIdMarker"] = page["NextKeyMarker"], page["NextUploadIdMarker"]


def _abort(bucket: Bucket, upload: dict[str, str]) -> None:
    bucket.calls.call("clean up", lambda client: client.abort_multipart_upload(**bucket.everywhere, **upload))


def _server_time(answer: Any) -> datetime:
    """By the server's clock, since this machine's may be wrong."""
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said) if said else datetime.now(timezone.utc)
