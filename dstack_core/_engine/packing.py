"""Wheels as one archive of what a machine unpacks, file for file: see `wheels`."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from dstack_core._engine.installed import canonical

ANY: Final = "any"
_ONE_PYTHON: Final = re.compile(r"cp3\d+")
_LEVEL: Final = 6
_NOT_RUN: Final = (".pyi", ".c", ".h", ".pxd", ".pyx", "/py.typed")
"""What compilers and type checkers read."""
_TOLD: Final = ("METADATA", "entry_points.txt")
"""What programs ask about an installed distribution: its version, its needs, its plugins."""


def archive_of(wheels: Sequence[Path], pythons: Sequence[str], spared: Callable[[str, str], bool]) -> bytes:
    """The archive, the same bytes for the same files. `spared`: which files of a distribution are left out."""
    folders: dict[str, dict[str, bytes]] = {name: {} for name in (ANY, *(_tag(version) for version in pythons))}
    for wheel in wheels:
        folders.setdefault(_folder(wheel), {}).update(_files(wheel, spared))
    # First what has to be known before anything else can be unpacked.
    parts = {f"{name}.tar.gz": gzip.compress(_tar(files), _LEVEL, mtime=0) for name, files in sorted(folders.items())}
    return _tar({"pythons": "".join(f"{version}\n" for version in pythons).encode(), **parts})


def _tag(version: str) -> str:
    return f"cp{version.replace('.', '')}"


def _folder(wheel: Path) -> str:
    """`any`, or the one Python that it is for: by its tags, https://packaging.python.org/specifications/."""
    python, abi, _ = wheel.stem.rsplit("-", 3)[1:]
    if _ONE_PYTHON.fullmatch(python) and (abi.startswith(python) or abi == "none"):
        return python
    return ANY


def _files(wheel: Path, spared: Callable[[str, str], bool]) -> Iterator[tuple[str, bytes]]:
    name = canonical(wheel.name.partition("-")[0])
    with zipfile.ZipFile(wheel) as archive:
        for path in archive.namelist():
            if _is_run(path) and not spared(name, _source(path)):
                yield path, archive.read(path)


def _is_run(path: str) -> bool:
    """Whether a program may want it: each file takes its time to make."""
    folder, _, file = path.rpartition("/")
    if folder.partition("/")[0].endswith(".dist-info"):
        return file in _TOLD
    return bool(file) and not path.endswith(_NOT_RUN)


def _source(path: str) -> str:
    """Of a compiled module, the path of its source: they go together. Of anything else, its own."""
    folder, cached, module = path.rpartition("__pycache__/")
    return f"{folder}{module.partition('.')[0]}.py" if cached else path


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
