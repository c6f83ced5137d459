"""Writing objects: in one request, or large ones in parts side by side."""

from __future__ import annotations

import base64
import threading
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from dstack_aws.failures import Refused
from dstack_aws.s3_bucket import Bucket
from dstack_aws.s3_leftovers import abort_leftovers
from dstack_aws.s3_version import CHECKSUM, REPLACED, WRITES, Version
from dstack_core.errors import StoreError

PART: Final = 16 << 20
"""Bytes that go in one request; core's own objects have no more. S3 wants 5 MiB of a part at least."""
THREADS: Final = 4
REFUSALS: Final = ("412", "NoSuchKey", "NoSuchUpload")
"""A condition does not hold; AWS says NoSuchKey of one on what is not there. An upload that is no more may have been
completed by a request whose answer was lost."""


class Writing:
    """Writes to one bucket. For several threads."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._calls = bucket.calls
        self._tidied = False
        self._lock = threading.Lock()

    def write(self, key: str, data: bytes, condition: Mapping[str, str], nonces: Sequence[str]) -> str:
        """Returns the entity tag.

        Raises:
            Refused: the condition does not hold, or it did and the answer was lost: see `won`.
            StoreError: it cannot be written.
        """
        crc = zlib.crc32(data)
        metadata = {WRITES: " ".join(nonces), CHECKSUM: f"{crc:08x}"}
        made = {**self._bucket.place(key), **self._bucket.encryption, "Metadata": metadata}
        if len(data) > PART:
            return self._write_in_parts(key, data, made, condition)
        sent = {**made, **condition, "ChecksumCRC32": _checksum(crc)}
        answer = self._calls.call(f"write {key}", lambda client: client.put_object(**sent, Body=data), REFUSALS)
        return str(answer["ETag"])

    def won(self, key: str, nonces: Sequence[str]) -> Version | None:
        """The version that a refused write has made nevertheless; None if it has made none."""
        place = self._bucket.place(key)
        try:
            found = Version.of(self._calls.call(f"write {key}", lambda client: client.head_object(**place), ("404",)))
        except Refused:
            return None
        if found.nonces[:1] == (nonces[0],):
            return found
        return Version(REPLACED, tuple(nonces)) if nonces[0] in found.nonces else None

    def _write_in_parts(self, key: str, data: bytes, made: Mapping[str, Any], condition: Mapping[str, str]) -> str:
        self._tidy()
        act, place = f"write {key}", self._bucket.place(key)
        begun = self._calls.call(act, lambda client: client.create_multipart_upload(**made, ChecksumAlgorithm="CRC32"))
        upload = {**place, "UploadId": begun["UploadId"]}
        try:
            parts = {"Parts": self._send_parts(act, data, upload)}
            answer = self._calls.call(
                act,
                lambda client: client.complete_multipart_upload(**upload, **condition, MultipartUpload=parts),
                REFUSALS,
            )
            return str(answer["ETag"])
        except BaseException:
            # When the bucket cannot be reached it stays, until `abort_leftovers` finds it.
            with suppress(StoreError, Refused):
                self._calls.call(act, lambda client: client.abort_multipart_upload(**upload), ("NoSuchUpload",))
            raise

    def _send_parts(self, act: str, data: bytes, upload: Mapping[str, Any]) -> list[dict[str, Any]]:
        view = memoryview(data)

        def send(number: int) -> dict[str, Any]:
            part = bytes(view[(number - 1) * PART : number * PART])
            sent = {**upload, "PartNumber": number, "ChecksumCRC32": _checksum(zlib.crc32(part))}
            answer = self._calls.call(act, lambda client: client.upload_part(**sent, Body=part))
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]}

        count = -(-len(data) // PART)
        with ThreadPoolExecutor(min(THREADS, count), thread_name_prefix="dstack-s3") as pool:
            sending = [pool.submit(send, number) for number in range(1, count + 1)]
            try:
                return [future.result() for future in sending]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _tidy(self) -> None:
        """Once for each opening, what writers that were killed have left."""
        with self._lock:
            first, self._tidied = not self._tidied, True
        if first:
            with suppress(StoreError):  # who may write need not be allowed to do this
                abort_leftovers(self._bucket)


def _checksum(crc: int) -> str:
    """As S3's header has it."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
