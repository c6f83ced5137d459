"""Masking secrets in a stream of bytes, also where a secret is split across two writes.

A mask keeps accidents out of logs; it is no boundary against a job that wants to give its secrets away.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Final

SHOWN: Final = b"***"
_SHORTEST: Final = 4  # a shorter secret would mask half of the log
_LINE: Final = 76  # characters of a line of base64, as MIME and coreutils write it
_HTML_SAFE: Final = re.compile("[<>&\u2028\u2029]")  # what Go and PHP escape in JSON, too
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def forms(secrets: Iterable[bytes]) -> list[bytes]:
    """What to look for, longest first: each secret and each line of it (of 4 bytes or more), as it is and as base64
    (at any offset, or alone in lines of 76), URL-encoded, JSON-escaped or single-quoted for a shell."""
    found: set[bytes] = set()
    for secret in secrets:
        for piece in {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}:
            if len(piece) >= _SHORTEST:
                found.update(f for f in _forms(piece) if len(f) >= _SHORTEST)
    return sorted(found, key=lambda form: (-len(form), form))


def _forms(piece: bytes) -> Iterable[bytes]:
    yield piece
    for safe in (b"", b"/", b"!'()*"):  # Python's way, and JavaScript's
        for style in ("%%%02X", "%%%02x"):
            quoted = "".join(chr(b) if b in _UNRESERVED or b in safe else style % b for b in piece).encode()
            yield quoted
            yield quoted.replace(b"%20", b"+")
    text = piece.decode("utf-8", "surrogateescape")
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield escaped.encode("utf-8", "surrogateescape")
        yield escaped.replace("/", "\\/").encode("utf-8", "surrogateescape")
        yield _HTML_SAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped).encode("utf-8", "surrogateescape")
    yield piece.replace(b"'", b"'\\''")
    for offset in range(3):
        # The first and last characters also hold bits of the neighbours.
        start, end = (0, 2, 3)[offset], (offset + len(piece)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(offset) + piece)[start:end]
    alone = base64.b64encode(piece)
    yield alone
    yield b"\n".join(alone[at : at + _LINE] for at in range(0, len(alone), _LINE))


class Masker:
    """Masks one stream. What may be the beginning of a secret is held back until more comes, or `flush`."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._forms = forms(secrets)
        self._longest = max(map(len, self._forms), default=0)
        self._pattern = re.compile(b"|".join(map(re.escape, self._forms))) if self._forms else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown of all that was fed so far and not shown yet."""
        if self._pattern is None:
            return data
        data = self._held + data
        hold = self._hold(data)
        shown: list[bytes] = []
        done = 0
        for match in self._pattern.finditer(data):
            if match.start() >= hold:
                break  # it may be the beginning of a longer one
            shown += (data[done : match.start()], SHOWN)
            done = match.end()
        hold = max(hold, done)
        shown.append(data[done:hold])
        self._held = data[hold:]
        return b"".join(shown)

    def flush(self) -> bytes:
        """What was held back, masked as far as it is a secret."""
        held, self._held = self._held, b""
        return self._pattern.sub(SHOWN, held) if self._pattern else held

    def _hold(self, data: bytes) -> int:
        """Where the longest end of `data` begins that some secret begins with."""
        first = max(0, len(data) - self._longest + 1)
        hold = len(data)
        for form in self._forms:
            at = data.find(form[:1], max(first, len(data) - len(form) + 1), hold)
            while at >= 0:
                if form.startswith(data[at:]):
                    hold = at
                    break
                at = data.find(form[:1], at + 1, hold)
        return hold
