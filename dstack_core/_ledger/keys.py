"""Users' words as segments of store keys."""

from __future__ import annotations

import functools
import hashlib
import re

LONGEST = 100
"""No segment is longer than this many bytes, so that a key of four of them stays under the store's 512."""

_OTHER = re.compile(rb"[^A-Za-z0-9_-]")


@functools.lru_cache(maxsize=4096)
def segment(text: str) -> str:
    """One key segment for any text: never empty, `.` or `..`, never with a `/`, and different for different texts.

    Bytes of its UTF-8 outside `[A-Za-z0-9_-]` are percent-encoded. What would be longer than `LONGEST` is cut and
    ends in `=` and its SHA-256; `=` appears in no other segment, except alone for the empty text.
    """
    # Lone surrogates stand for bytes of a file name or argument that are not UTF-8; they are data like any other.
    data = text.encode("utf-8", "surrogatepass")
    encoded = _OTHER.sub(lambda match: b"%%%02X" % match[0][0], data).decode("ascii")
    if len(encoded) <= LONGEST:
        return encoded or "="
    return f"{encoded[:32].rstrip('%')}={hashlib.sha256(data).hexdigest()}"
