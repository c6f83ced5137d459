"""The archive that machines start from: exactly what is installed here, for Linux on x86-64.

    pythons           versions of Python for which there is everything, the best one first
    any.tar.gz        what goes into an environment of whichever of them
    cp312.tar.gz      what is only for that one

Pure Python is packed from what is installed. Wheels with machine code are downloaded by pip, of the same versions and
from where pip is configured to look, for each Python that a machine may have; for this computer's own Python, if it is
a Linux on x86-64, too, what is installed does without. Where pip gets nothing, machines need this computer's Python.
Machines unpack files, not wheels: as few as possible, for that is what takes their time. Files that nobody needs there
stay at home (`parts`); and if a machine has this computer's Python, it need not compile anything (`compiling`).
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from dstack_core._engine.compiling import compiled
from dstack_core._engine.installed import Installed, needed, pack
from dstack_core._engine.packing import archive_of
from dstack_core._engine.parts import Part, Spared
from dstack_core._engine.shelf import Shelf
from dstack_core.errors import InputError

PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13")
PLATFORMS: Final = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")
NEWEST: Final = 3
"""Archives that are kept."""
_FORMAT: Final = 5


def archive(parts: Sequence[Part], cache: Path) -> Path:
    """The archive with these parts and all that they need; made once, then kept in `cache`.

    Returns:
        A file in `cache`, whose name ends with the archive's digest: `<what it was made of>-<sha256>.tar`.

    Raises:
        InputError: something that is installed cannot be packed, or built.
    """
    wanted = needed([part.distribution for part in parts])
    names = sorted(f"{part.distribution} {part.name}" for part in parts)
    about = "\n".join([str(_FORMAT), sys.version, platform.machine(), *names, *(one.stamp for one in wanted)])
    name = hashlib.sha256(about.encode()).hexdigest()[:32]
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two who need it at once, one makes it
        kept = next(cache.glob(f"{name}-*.tar"), None)
        if kept is None:
            shelf = Shelf(cache / "wheels")
            wheels, pythons = _collect(wanted, shelf)
            data = archive_of([*wheels, *compiled(wheels, shelf)], pythons, Spared(parts))
            kept = _write(cache / f"{name}-{hashlib.sha256(data).hexdigest()}.tar", data)
            shelf.tidy()
            for old in sorted(cache.glob("*.tar*"), key=lambda path: path.stat().st_mtime)[:-NEWEST]:
                old.unlink()
        return kept


def _write(target: Path, data: bytes) -> Path:
    draft = target.with_suffix(".new")
    draft.write_bytes(data)
    return draft.replace(target)


def _collect(wanted: Sequence[Installed], shelf: Shelf) -> tuple[list[Path], list[str]]:
    """Everything that belongs into the archive, and the Pythons for which it is complete, the best one first."""
    native = [one for one in wanted if not one.pure]
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    is_alike = sys.platform == "linux" and platform.machine() == "x86_64"
    others = [version for version in PYTHONS if not (version == here and is_alike)]
    with ThreadPoolExecutor(len(others) + 1) as pool:  # each is mostly a pip that waits, or a program of its own
        built = pool.submit(_build, [one for one in wanted if one.folder], shelf)
        fetched = pool.map(lambda version: _download(native, version, shelf) if native else [], others)
        packed = [_pack(one, shelf) for one in wanted if one.folder is None and (one.pure or is_alike)]
        had = dict(zip(others, fetched, strict=True))
    pythons = [version for version, wheels in had.items() if wheels is not None] + [here] * is_alike
    if not pythons:
        names = ", ".join(one.pin for one in native)
        raise InputError(f"pip cannot download what machines need: {names}", hint="can pip reach its index?")
    parts = [built.result(), *packed, *(wheels or [] for wheels in had.values())]
    # For this computer's own, it is compiled.
    return [wheel for part in parts for wheel in part], sorted(pythons, key=lambda version: (version != here, version))


def _pack(one: Installed, shelf: Shelf) -> list[Path]:
    return shelf.make(f"packed {one.stamp}", lambda folder: pack(one, folder))


def _build(sources: Sequence[Installed], shelf: Shelf) -> list[Path]:
    """Wheels of what is installed from folders; of those that have changed since, by one pip."""
    names = {one: f"built {sys.version} {one.stamp}" for one in sources}
    stale = [one for one, name in names.items() if shelf.find(name) is None]
    if stale:
        with tempfile.TemporaryDirectory() as folder:
            _build_in(Path(folder), [str(one.folder) for one in stale])
            for one in stale:
                mine = next(Path(folder).glob(f"{one.name.replace('-', '_')}-*.whl"))
                shelf.make(names[one], partial(shutil.copy, mine))
    return [wheel for name in names.values() for wheel in shelf.find(name) or ()]


def _build_in(folder: Path, sources: Sequence[str]) -> None:
    words = ["wheel", "--no-deps", "--wheel-dir", str(folder), *sources]
    # What they are built by is most likely here; if it is not, pip fetches it.
    if _pip(*words, "--no-build-isolation").returncode and (done := _pip(*words)).returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise InputError(f"no wheels can be built of {', '.join(sources)}: {last}")


def _download(native: Sequence[Installed], version: str, shelf: Shelf) -> list[Path] | None:
    """Wheels of all of them for this Python; None if there are not."""
    pins = [one.pin for one in native]
    platforms = [f"--platform={name}" for name in PLATFORMS]
    target = ["--implementation=cp", f"--python-version={version}", *platforms]

    def fetch(folder: Path) -> None:
        words = ("download", "--no-deps", "--only-binary=:all:", *target, "--dest", str(folder), *pins)
        if _pip(*words).returncode:
            raise LookupError

    try:
        return shelf.make(f"fetched {version} {' '.join(PLATFORMS)} {' '.join(pins)}", fetch)
    except LookupError:
        return None


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
