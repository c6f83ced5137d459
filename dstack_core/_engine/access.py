"""The token that lets people into what a job serves: while the attempt runs a file on its machine, nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dstack_core.errors import NotFoundError
from dstack_core.home import dstack_home

TOKEN: Final = "job.token"  # noqa: S105  the name of the reference
BYTES: Final = 16


def make_token(label: str) -> str:
    """A new token of 128 bits, as 32 hexadecimal digits, for the attempt of that label. Raises OSError."""
    token = os.urandom(BYTES).hex()
    path = _path(label)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    return token


def read_token(label: str) -> str:
    """The token of an attempt that runs on this machine.

    Raises:
        NotFoundError: it has none, or has ended.
    """
    try:
        return _path(label).read_text(encoding="ascii")
    except FileNotFoundError:
        raise NotFoundError("it has no token: it has ended, or runs on another machine") from None


def forget_token(label: str) -> None:
    """The attempt has ended. What a runner that died has left goes with its folder."""
    _path(label).unlink(missing_ok=True)


def token_path(home: Path, label: str) -> Path:
    """Where the token of an attempt is while it runs, on a machine with that dstack folder."""
    machine, _, attempt = label.partition(".")
    return home / "work" / machine / f"{attempt}.token"


def _path(label: str) -> Path:
    return token_path(dstack_home(), label)
