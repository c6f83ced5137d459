"""Names of secrets in Secrets Manager: `<prefix>/<repository>/<name>`.

A name there has letters, digits and `/_+=.@-`. Whatever else a repository's name has is written `=XX`, byte by byte.
The secret's own name has no `/`, so no two secrets share a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_PLAIN: Final = re.compile(rb"[A-Za-z0-9_.@/-]")


def folder(prefix: str, repo: str) -> str:
    """How the names of a repository's secrets begin."""
    safe = "".join(
        bytes([byte]).decode() if _PLAIN.match(bytes([byte])) else f"={byte:02X}" for byte in repo.encode("utf-8")
    )
    return f"{prefix}/{safe}/"


def names_in(folder: str, full: Iterable[str]) -> list[str]:
    """The secrets' own names, of those that are in the folder itself; sorted."""
    own = (name[len(folder) :] for name in full if name.startswith(folder))
    return sorted(name for name in own if name and "/" not in name)
