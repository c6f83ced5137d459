"""Where dstack keeps a user's data: `$DSTACK_HOME`, by default `~/.dstack`."""

from __future__ import annotations

import os
from pathlib import Path

from dstack_core.errors import InputError


def dstack_home() -> Path:
    """The folder, made if need be, readable by its owner only.

    Raises:
        InputError: it cannot be made, or belongs to somebody else (another user could plant a plugin config there).
    """
    home = Path(os.environ.get("DSTACK_HOME") or "~/.dstack").expanduser()
    if any(c in str(home) for c in "\n\r\0"):
        raise InputError("DSTACK_HOME has a line break in it", hint="set DSTACK_HOME to a folder with an ordinary name")
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = home.stat()
    except OSError as error:
        raise InputError(f"cannot use {home}: {error.strerror}", hint="set DSTACK_HOME to a folder of yours") from None
    if status.st_uid != os.geteuid():
        raise InputError(f"{home} belongs to another user", hint="set DSTACK_HOME to a folder of yours")
    if status.st_mode & 0o077:
        home.chmod(0o700)
    return home.resolve()
