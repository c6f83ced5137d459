"""What a cloud said a while ago, kept on disk: lists that are long to fetch, and change slowly.

Derived data, which may be deleted at any time. Neither reading nor writing ever fails: what is damaged or too old is
asked for again.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from dstack_core.home import dstack_home

HOUR: Final = 3600.0


def remembered(about: Sequence[str], make: Callable[[], Any], seconds: float = HOUR) -> Any:
    """What `make` gives, or gave at most `seconds` ago.

    Args:
        about: what it is, and all that it depends on: whose credentials, which region, which question.
        make: gives plain JSON. What it raises is raised.
    """
    path = dstack_home() / "cache" / "cloud" / f"{sha256(json.dumps(list(about)).encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError):
        # A file of the future is from before the clock was set: nobody knows how old it is.
        if 0 <= time.time() - path.stat().st_mtime <= seconds:
            return json.loads(path.read_bytes())
    made = make()
    with contextlib.suppress(OSError):
        _write(path, json.dumps(made).encode())
    return made


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(name, path)
