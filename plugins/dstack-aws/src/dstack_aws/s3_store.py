"""The artifact store `s3`: objects of a bucket.

    <prefix>/<key>   the objects, one of S3's each; `s3_version` says what their metadata is for

An object's version is its entity tag and its nonces.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dstack_aws.calls import Spoiled
from dstack_aws.failures import Refused
from dstack_aws.s3_bucket import KEY, Bucket
from dstack_aws.s3_listing import list_objects
from dstack_aws.s3_version import CHECKSUM, NOTHING, Version
from dstack_aws.s3_writing import Writing
from dstack_core.artifact_store import ABSENT, ANY, ArtifactStore, Object, ObjectInfo
from dstack_core.errors import ConflictError, NotFoundError, StoreError

MISSING: Final = "NoSuchKey"


class S3Store(ArtifactStore):
    """An artifact store in a bucket of S3, or of a server that speaks its protocol and heeds conditions.

    The settings are those of `dstack_aws.settings.S3Settings`. Nothing is asked of the server before it is needed.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._bucket = Bucket(settings)
        self._calls = self._bucket.calls
        self._writing = Writing(self._bucket)

    @property
    def location(self) -> str:
        """The address of bucket and prefix."""
        return self._bucket.location

    def lacking(self) -> list[str]:
        """See `dstack_core.setup.SupportsSetup`."""
        from dstack_aws.s3_setup import lacking

        return lacking(self._bucket)

    def set_up(self) -> None:
        """See `dstack_core.setup.SupportsSetup`."""
        from dstack_aws.s3_setup import set_up

        set_up(self._bucket)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Object:
        """See `ArtifactStore.read`."""
        place = self._bucket.place(key)
        if length == 0:
            return Object(b"", str(self._head(key)))
        span = f"bytes={start}-{'' if length is None else start + length - 1}"
        whole = start == 0 and length is None

        def get(client: Any) -> Object:
            answer = client.get_object(**place) if whole else client.get_object(**place, Range=span)
            data = answer["Body"].read()
            said = answer.get("Metadata", {}).get(CHECKSUM)
            if whole and said and f"{zlib.crc32(data):08x}" != said:
                raise Spoiled("what arrived is damaged")
            return Object(data, str(Version.of(answer)))

        try:
            return self._calls.call(f"read {key}", get, (MISSING, "416"))
        except Refused as refused:
            if refused.status == 416:
                return Object(b"", "")
            raise self._not_found(key) from None

    def write(self, key: str, data: bytes | memoryview, expect: str = ANY) -> str:
        """See `ArtifactStore.write`."""
        old = NOTHING if expect in (ANY, ABSENT) else Version.parse(expect)
        condition = {ANY: {}, ABSENT: {"IfNoneMatch": "*"}}.get(expect, {"IfMatch": old.etag})
        nonces = old.next_nonces()
        try:
            return str(Version(self._writing.write(key, bytes(data), condition, nonces), nonces))
        except Refused as refused:
            won = self._writing.won(key, nonces)
            if won:
                return str(won)
            if expect == ANY:
                raise StoreError(f"cannot write {key}: {refused}", where=self.location) from None
            raise _taken(key) if expect == ABSENT else _changed(key) from None

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """See `ArtifactStore.list`. Objects whose names cannot be keys are passed over."""
        if prefix and not (prefix.endswith("/") and KEY.match(prefix[:-1])):
            raise StoreError(f"not a prefix of keys: {prefix!r}")
        return list_objects(self._bucket, prefix, after)

    def delete(self, key: str, expect: str = ANY) -> None:
        """See `ArtifactStore.delete`."""
        place = self._bucket.place(key)
        condition = {} if expect == ANY else {"IfMatch": Version.parse(expect).etag}
        try:
            self._calls.call(
                f"delete {key}", lambda client: client.delete_object(**place, **condition), (MISSING, "412")
            )
        except Refused as refused:
            if refused.status == 412 and self.exists(key):  # some servers say 412 of what is not there
                raise _changed(key) from None

    def exists(self, key: str) -> bool:
        """Whether the object is there, without its bytes."""
        try:
            self._head(key)
        except NotFoundError:
            return False
        return True

    def link(self, key: str, seconds: float, *, write: bool = False) -> str:
        """See `SupportsLinks`."""
        place = self._bucket.place(key)
        method = "put_object" if write else "get_object"

        def sign(client: Any) -> str:
            return str(client.generate_presigned_url(method, Params=place, ExpiresIn=math.ceil(seconds)))

        return self._calls.call(f"make a link to {key}", sign)

    def _head(self, key: str) -> Version:
        """Raises NotFoundError."""
        place = self._bucket.place(key)
        try:
            # An answer to HEAD has no body, so it does not say why: the same asked with GET does.
            answer = self._calls.call(f"read {key}", lambda client: client.head_object(**place), ("404", "400", "403"))
        except Refused as refused:
            if refused.status != 404:
                return Version.parse(self.read(key, 0, 1).version)
            self._bucket.look(f"read {key}")
            raise self._not_found(key) from None
        return Version.of(answer)

    def _not_found(self, key: str) -> NotFoundError:
        return NotFoundError(f"nothing is stored as {key}", where=self.location)


def _taken(key: str) -> ConflictError:
    return ConflictError(f"{key} exists already")


def _changed(key: str) -> ConflictError:
    return ConflictError(f"{key} was changed by somebody else")
