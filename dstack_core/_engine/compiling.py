"""Modules compiled beforehand, so that a machine with this computer's Python need not: that takes seconds.

A machine does not compare them with their sources, which come in the same archive and stay as they are.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import struct
import sys
import warnings
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from dstack_core._engine.shelf import Shelf

_UNCHECKED: Final = struct.pack("<L", 0b01)
"""Flags of a compiled module that is named after its source's digest, which nobody looks at (PEP 552)."""
_HERE: Final = f"cp{sys.version_info[0]}{sys.version_info[1]}"


def compiled(wheels: Sequence[Path], shelf: Shelf) -> list[Path]:
    """For each wheel that this Python can use, one with its modules compiled."""
    return [made for wheel in wheels if _is_for_us(wheel) for made in _compiled(wheel, shelf)]


def _is_for_us(wheel: Path) -> bool:
    python, abi, platform = wheel.stem.rsplit("-", 3)[1:]
    return platform == "any" or abi == "abi3" or python == _HERE


def _compiled(wheel: Path, shelf: Shelf) -> list[Path]:
    about = f"compiled {sys.version} {hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    return shelf.make(about, partial(_compile, wheel))


def _compile(wheel: Path, folder: Path) -> None:
    name = "-".join(wheel.name.split("-")[:2])
    target = folder / f"{name}-{_HERE}-none-any.whl"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for path in source.namelist():
            if path.endswith(".py") and (module := _module(path, source.read(path))):
                made.writestr(zipfile.ZipInfo(_place(path)), module)


def _place(path: str) -> str:
    """Where Python looks for it, unless it is told to look elsewhere."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc".lstrip("/")


def _module(path: str, source: bytes) -> bytes | None:
    """As Python would write it; None for what it cannot read, such as what is for another version."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its author's making
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return None
    digest = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED + digest + marshal.dumps(code)
