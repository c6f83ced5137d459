"""The archive that machines start from: wheels of exactly what is installed here, for Linux on x86-64.

    *.whl      whatever is for any Python, and what is for one of them
    pythons    versions of Python for which there is everything

Pure Python is packed from what is installed. Wheels with machine code are downloaded by pip, of the same versions and
from where pip is configured to look, for each Python that a machine may have; for this computer's own Python, if it is
a Linux on x86-64, too, what is installed does without. Where pip gets nothing, machines need this computer's Python.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from dstack_core._engine.installed import Installed, needed, pack
from dstack_core.errors import InputError

PYTHONS: Final = ("3.10", "3.11", "3.12", "3.13")
PLATFORMS: Final = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")
NEWEST: Final = 3
"""Archives that are kept."""
_FORMAT: Final = 2


def archive(distributions: Sequence[str], cache: Path) -> bytes:
    """The archive (`.tar.gz`) with these distributions and all that they need; made once, then kept in `cache`.

    Raises:
        InputError: something that is installed cannot be packed, or built.
    """
    wanted = needed(distributions)
    about = "\n".join([str(_FORMAT), sys.version, platform.machine(), *(one.stamp for one in wanted)])
    kept = cache / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.tar.gz"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two who need it at once, one makes it
        if not kept.exists():
            _make(wanted, kept)
            for old in sorted(cache.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)[:-NEWEST]:
                old.unlink()
        return kept.read_bytes()


def _make(wanted: Sequence[Installed], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder, "archive")
        draft.write_bytes(_packed(_collect(wanted, Path(folder, "wheels"))))
        draft.replace(target)


def _collect(wanted: Sequence[Installed], folder: Path) -> Path:
    """A folder with everything that belongs into the archive."""
    folder.mkdir()
    built = [one.folder for one in wanted if one.folder]
    if built:
        _build(built, folder)
    native = [one for one in wanted if not one.pure]
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    is_alike = sys.platform == "linux" and platform.machine() == "x86_64"
    for one in wanted:
        if one.folder is None and (one.pure or is_alike):
            pack(one, folder)
    others = [version for version in PYTHONS if not (version == here and is_alike)]
    with ThreadPoolExecutor(len(others)) as pool:
        had = list(pool.map(lambda version: not native or _download(native, version, folder), others))
    pythons = [version for version, complete in zip(others, had, strict=True) if complete] + [here] * is_alike
    if not pythons:
        names = ", ".join(one.pin for one in native)
        raise InputError(f"pip cannot download what machines need: {names}", hint="can pip reach its index?")
    (folder / "pythons").write_text("".join(f"{version}\n" for version in sorted(pythons)))
    return folder


def _build(sources: Sequence[Path], folder: Path) -> None:
    words = ["wheel", "--no-deps", "--wheel-dir", str(folder), *map(str, sources)]
    # What they are built by is most likely here; if it is not, pip fetches it.
    if _pip(*words, "--no-build-isolation").returncode and (done := _pip(*words)).returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise InputError(f"no wheels can be built of {', '.join(map(str, sources))}: {last}")


def _download(native: Sequence[Installed], version: str, folder: Path) -> bool:
    """Whether there are wheels of all of them for this Python."""
    platforms = [f"--platform={name}" for name in PLATFORMS]
    target = ["--implementation=cp", f"--python-version={version}", *platforms]
    pins = [one.pin for one in native]
    return _pip("download", "--no-deps", "--only-binary=:all:", *target, "--dest", str(folder), *pins).returncode == 0


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _packed(folder: Path) -> bytes:
    """The same bytes for the same files."""
    out = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0)
    with zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)
    return out.getvalue()
