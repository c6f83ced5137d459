"""What was brought back into a working tree before: when more is, that is no change of the user's own.

It is remembered on this machine, and when it is forgotten there are only conflicts to be asked about.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dstack_core._content.difference import Change
from dstack_core._content.entries import TreeEntry, to_bytes
from dstack_core.home import dstack_home


class Brought:
    """Of one job of a run, into one working tree."""

    def __init__(self, run: str, job: str, root: Path) -> None:
        name = hashlib.sha256(b"\0".join(map(to_bytes, (run, job, str(root.resolve()))))).hexdigest()[:32]
        self._path = dstack_home() / "cache" / f"brought-{name}.json"

    def read(self) -> Mapping[str, TreeEntry | None]:
        """Entries by path; None: it was deleted."""
        try:
            stored = json.loads(self._path.read_bytes())
            return {path: TreeEntry(path, *fields) if fields else None for path, fields in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def add(self, made: Iterable[Change]) -> None:
        """These changes were made. Raises OSError."""
        entries = {**self.read(), **{change.path: change.new for change in made}}
        text = json.dumps({path: entry and [entry.kind, entry.mode, entry.digest, entry.target] for path, entry in
                           entries.items()})  # fmt: skip
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_suffix(f".{os.getpid()}")
        new.write_text(text, encoding="ascii")
        os.replace(new, self._path)
