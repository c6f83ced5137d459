"""Versions of objects, and how a writer whose answer was lost learns that it had won.

Each write puts a nonce of its own into the object's metadata, and behind it those of the writes that it replaced. Who
is told "precondition failed" looks there: its own nonce in front means that the answer to its first try was lost;
further back, that somebody has replaced since what it had written. Either way it has won.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

WRITES: Final = "dstack-writes"
"""Metadata: nonces, the newest first."""
CHECKSUM: Final = "dstack-crc32"
"""Metadata: CRC-32 of all bytes. Servers differ in which checksums they keep; metadata is kept by all."""
REMEMBERED: Final = 6
"""Nonces in an object. A lost answer is asked for within seconds, not after so many other writes."""
REPLACED: Final = '"replaced"'
"""Stands for an entity tag that is not known, and that no object has any more."""


class Version(NamedTuple):
    """What the contract's `version` is made of: the server's entity tag, and the nonces."""

    etag: str
    nonces: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> Version:
        """From `str(version)`."""
        etag, *nonces = text.split(" ")
        return Version(etag, tuple(nonces))

    @staticmethod
    def of(answer: Mapping[str, Any]) -> Version:
        """Of the object in an answer to GET or HEAD."""
        return Version(str(answer["ETag"]), tuple(answer.get("Metadata", {}).get(WRITES, "").split()))

    def next_nonces(self) -> tuple[str, ...]:
        """Of a write that replaces this version."""
        return (os.urandom(8).hex(), *self.nonces)[:REMEMBERED]

    def __str__(self) -> str:
        return " ".join([self.etag, *self.nonces])


NOTHING: Final = Version("")
"""Of what is not there."""
