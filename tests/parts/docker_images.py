"""Images for tests, made from this machine's own files: no registry is needed."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from docker_engine import which

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="session")
def busybox(engine: str) -> str:
    """An image with a shell and the usual small programs."""
    return import_image("dstack-test-busybox", busybox_files())


@pytest.fixture(scope="session")
def python_image(engine: str) -> str:
    """An image with this machine's Python, bash and the programs of busybox."""
    return import_image("dstack-test-python", python_files())


CONDA = f"""#!/bin/sh
# Does what `conda create -y -q -p FOLDER python=VERSION pip` and `conda env create -n NAME` are told to, in small.
echo "$@" >> /cache/conda/calls
case "$*" in
  *python=9.9*) echo "PackagesNotFoundError: python=9.9" >&2; exit 1 ;;
  create*) folder=$5; version=${{6#python=}} ;;
  env*) folder=/opt/conda/envs/$4; version={VERSION} ;;
esac
mkdir -p "$folder/bin" "$folder/conda-meta"
printf '#!/bin/sh\\necho "Python %s, in %s"\\n' "$version" "$folder" > "$folder/bin/python"
chmod +x "$folder/bin/python"
"""
"""Covers how dstack calls conda and what it does with the environment. Not: channels, solving, real activation."""

ACTIVATE = """conda() {
  if [ "$1" = activate ]; then PATH=/opt/conda/envs/$2/bin:$PATH; else command conda "$@"; fi
}
"""


@pytest.fixture
def conda_image(busybox: str, python_image: str) -> str:
    """An image whose conda is a small program of ours."""
    conda: list[tuple[str, Path | bytes | str]] = [
        ("opt/conda/etc/profile.d/conda.sh", ACTIVATE.encode()),
        ("opt/conda/bin/conda", CONDA.encode()),
    ]
    path = "ENV PATH=/opt/conda/bin:/usr/bin:/bin"
    return import_image("dstack-test-conda", [*python_files(), *conda], changes=[path])


def import_image(name: str, files: Iterable[tuple[str, Path | bytes | str]], changes: Iterable[str] = ()) -> str:
    """Make an image from files: path -> a file to copy, the bytes of a program, or what a link points to."""
    return load_image(name, pack(files), changes)


def pack(files: Iterable[tuple[str, Path | bytes | str]]) -> bytes:
    """A tar archive of files that are given as to `import_image`."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, source in files:
            _add(tar, path, source)
    return archive.getvalue()


def load_image(name: str, archive: bytes, changes: Iterable[str] = ()) -> str:
    """Name the files of a tar archive as an image, once for all who bring the same archive."""
    told = [f"--change={change}" for change in changes]
    content = hashlib.sha256(archive + repr(told).encode()).hexdigest()[:12]
    full = f"{name}:{content}"
    # One at a time: of two who import the same archive, the second would move the name to an image of its own.
    with open(Path(tempfile.gettempdir()) / "dstack-test-images.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run(["docker", "image", "inspect", full], capture_output=True, check=False).returncode:
            subprocess.run(["docker", "import", *told, "-", full], input=archive, capture_output=True, check=True)
    return full


def _add(tar: tarfile.TarFile, path: str, source: Path | bytes | str) -> None:
    info = tarfile.TarInfo(path)
    info.mode = 0o755
    if isinstance(source, str):
        info.type = tarfile.SYMTYPE
        info.linkname = source
        tar.addfile(info)
    elif isinstance(source, bytes):
        info.size = len(source)
        tar.addfile(info, io.BytesIO(source))
    elif source.is_dir():
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = source.stat().st_size
        info.mode = source.stat().st_mode & 0o777
        with source.open("rb") as file:
            tar.addfile(info, file)


def busybox_files() -> list[tuple[str, Path | bytes | str]]:
    busybox = Path(which("busybox") or "")
    programs = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = [(f"bin/{program}", "busybox") for program in programs if program != "busybox"]
    return [("tmp", Path("/tmp")), ("bin/busybox", busybox), *links]


def shell_files() -> list[tuple[str, Path | bytes | str]]:
    """Bash and the programs of busybox."""
    bash = Path(which("bash") or "/bin/bash")
    needed = {str(path).lstrip("/"): Path(os.path.realpath(path)) for path in libraries(bash)}
    return [*busybox_files(), ("bin/bash", Path(os.path.realpath(bash))), *needed.items()]


def python_files() -> list[tuple[str, Path | bytes | str]]:
    """The base of this Python, bash, and every library that they load."""
    python = Path(os.path.realpath(sys.executable))
    files: dict[str, Path | bytes | str] = dict(busybox_files())
    for program in (python, Path(which("bash") or "/bin/bash")):
        for path in [program, *libraries(program)]:
            files[str(path).lstrip("/")] = Path(os.path.realpath(path))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in stdlib.rglob("*"):
        if not path.is_file() or {"test", "__pycache__", "site-packages", "dist-packages"} & set(path.parts):
            continue
        files[str(path).lstrip("/")] = path
        if path.suffix == ".so":
            files.update({str(found).lstrip("/"): Path(os.path.realpath(found)) for found in libraries(path)})
    wheels = [*stdlib.glob("ensurepip/_bundled/pip-*.whl"), *Path("/usr/share/python-wheels").glob("pip-*.whl")]
    files["opt/pip.whl"] = wheels[0]
    files["usr/bin/pip"] = b'#!/bin/sh\nPYTHONPATH=/opt/pip.whl exec python -m pip "$@"\n'
    for name in ("python", "python3", version):
        if f"usr/bin/{name}" != str(python).lstrip("/"):
            files[f"usr/bin/{name}"] = str(python)
    return sorted(files.items())


def libraries(program: Path) -> list[Path]:
    """The shared libraries that a program loads, its loader among them."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/")]
