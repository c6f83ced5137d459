"""Wheels that were made or fetched before: of a bundle that has changed, most of the parts have not.

wheels/<digest of what they are made from>/*.whl     derived data, which may be deleted at any time
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

KEPT: Final = 30 * 86400.0
"""Seconds after its last use for which a part is kept."""


class Shelf:
    """Parts by what they are made from. For several threads; of several processes, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def find(self, about: str) -> list[Path] | None:
        """The wheels of a part; None if they have to be made."""
        place = self._place(about)
        with contextlib.suppress(OSError):
            os.utime(place)
            return sorted(place.glob("*.whl"))
        return None

    def make(self, about: str, make: Callable[[Path], object]) -> list[Path]:
        """The wheels of a part; `make` is given a folder for them if there are none yet. What it raises is raised."""
        if (found := self.find(about)) is not None:
            return found
        draft = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            make(draft)
            with contextlib.suppress(OSError):  # somebody was faster
                draft.rename(self._place(about))
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self.find(about) or []

    def tidy(self) -> None:
        """Remove what was not used for long, and what a process that was killed has left."""
        for place in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > KEPT:
                    shutil.rmtree(place, ignore_errors=True)

    def _place(self, about: str) -> Path:
        return self._folder / hashlib.sha256(about.encode()).hexdigest()[:32]
