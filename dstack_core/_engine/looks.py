"""When something was first seen that no record explains: only what is so for a while is ended.

Kept in `$DSTACK_HOME/looks/<remote>.json`. A look that is lost only delays the end.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dstack_core._ledger.keys import segment
from dstack_core.backend import Leftover
from dstack_core.home import dstack_home

APART: Final = 60.0
"""Seconds between two looks that count as two."""


def last_look(remote: str) -> float:
    """When somebody of this machine last looked, seconds since the epoch; 0: never."""
    with contextlib.suppress(OSError):
        return _path(remote).stat().st_mtime
    return 0.0


def look(remote: str, unexplained: Sequence[Leftover]) -> list[Leftover]:
    """Remember what is unexplained now; which of it was so at a look at least `APART` ago, and ever since."""
    path = _path(remote)
    before: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        before = {str(name): float(when) for name, when in json.loads(path.read_bytes()).items()}
    now = time.time()
    # A first look in the future is of a clock that was set since.
    seen = {_name(one): min(before.get(_name(one), now), now) for one in unexplained}
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(seen), encoding="utf-8")
    new.replace(path)
    return [one for one in unexplained if now - seen[_name(one)] >= APART]


def _path(remote: str) -> Path:
    return dstack_home() / "looks" / f"{segment(remote)}.json"


def _name(one: Leftover) -> str:
    return f"{one.kind} {one.region} {one.id}"
