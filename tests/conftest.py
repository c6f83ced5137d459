"""What tests of several rooms need."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_SET_FLAGS = 0x40086602
_NOATIME = 0x80


@pytest.fixture
def without_access_times() -> Iterator[Callable[[Path], None]]:
    """Makes an empty folder one where reading leaves no trace: by an attribute, else by a mount."""
    mounted: list[Path] = []

    def forget(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not _set_attribute(folder):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "noatime", "tmpfs", folder], check=True)
            mounted.append(folder)

    yield forget
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def _set_attribute(folder: Path) -> bool:
    """What `chattr +A` does: all that is made in the folder inherits it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("i", _NOATIME))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
