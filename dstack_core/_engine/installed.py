"""Which installed distributions a machine needs, and each of them as a wheel again.

What is installed is what is packed: no release has to exist, and no index has to be reachable, for whatever is pure
Python. A distribution that was installed from a folder to be worked on has no files of its own here: it is built.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement

from dstack_core.errors import InputError

_SKIPPED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""Of a `.dist-info`: what says how it was installed here."""


@dataclass(frozen=True)
class Installed:
    """A distribution as it is installed here.

    Attributes:
        folder: the source that it was installed from to be worked on; None: its files are in this environment.
        tags: of its wheel, `cp311-cp311-manylinux2014_x86_64`; empty if nothing says so.
    """

    of: Distribution
    name: str
    folder: Path | None
    tags: tuple[str, ...]

    @property
    def pure(self) -> bool:
        """Whether it is the same on every computer."""
        return self.folder is not None or (bool(self.tags) and all(tag.endswith("-none-any") for tag in self.tags))

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.of.version}"

    @property
    def stamp(self) -> str:
        """Differs whenever what would be packed does."""
        files = _sources(self.folder) if self.folder else ()
        return f"{self.pin} {self.of.read_text('RECORD') or ''} {' '.join(map(_stamp, files))}"


def needed(names: Iterable[str], apart: Container[str] = ()) -> list[Installed]:
    """The distributions of these names, and all that they need, by name; but not those `apart`, nor what those need.

    Raises:
        InputError: one is not installed in a way that can be found out about.
    """
    found: dict[str, Installed] = {}
    todo = list(names)
    while todo:
        name = canonical(todo.pop())
        if name in found:
            continue
        try:
            of = distribution(name)
        except PackageNotFoundError:
            raise InputError(f"{name} is not installed, and machines need it", hint=f"pip install {name}") from None
        found[name] = Installed(of, name, _folder(of), _tags(of))
        wanted = [Requirement(line) for line in of.requires or ()]
        needs = [w.name for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})]
        todo += [name for name in needs if canonical(name) not in apart]
    return [found[name] for name in sorted(found)]


def canonical(name: str) -> str:
    """The name as indexes have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pack(installed: Installed, folder: Path) -> None:
    """Make the wheel that it was installed from, in `folder`: the same bytes each time.

    Raises:
        InputError: its files are not known, as with packages of an operating system.
    """
    of = installed.of
    top = Path(str(of.locate_file("")))
    files = {path.as_posix(): path for path in of.files or ()}
    if not installed.tags or not any(name.endswith(".dist-info/METADATA") for name in files):
        hint = "install dstack with pip into an environment of its own"
        raise InputError(f"{installed.name} was not installed by pip, and cannot be sent to machines", hint=hint)
    target = folder / f"{installed.name.replace('-', '_')}-{of.version}-{_compressed(installed.tags)}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as wheel:
        record = []
        for name in sorted(files):
            if name.startswith("../") or name.endswith(".pyc") or name.rpartition("/")[2] in _SKIPPED:
                continue  # scripts are made anew from the entry points
            _add(wheel, name, (top / name).read_bytes())
            record.append(f'"{name}",,\n' if "," in name else f"{name},,\n")
        info = next(name for name in files if name.endswith(".dist-info/METADATA")).partition("/")[0]
        _add(wheel, f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]).encode())


def _add(wheel: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o100644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    wheel.writestr(info, data)


def _tags(of: Distribution) -> tuple[str, ...]:
    lines = (of.read_text("WHEEL") or "").splitlines()
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Tag:"))


def _compressed(tags: tuple[str, ...]) -> str:
    """Several tags as one, as the names of wheels have them: `py2.py3-none-any`."""
    parts = zip(*(tag.split("-", 2) for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(part)) for part in parts)


def _folder(of: Distribution) -> Path | None:
    said = json.loads(of.read_text("direct_url.json") or "{}")
    if not said.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(said["url"]).path))


def _sources(folder: Path) -> Iterator[Path]:
    for above, names, files in os.walk(folder):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in ("__pycache__", "tests", "dist"))
        yield from (Path(above, name) for name in sorted(files))


def _stamp(path: Path) -> str:
    status = path.lstat()
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"
