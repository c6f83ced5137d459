"""What pip installs in containers that reach no index: an image with Python, and a folder of wheels beside the images.

Machines see the folder of images at `/opt/box/images`, so jobs get wheels by a mount of the executor's settings.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cloud_image
from docker_archives import keep_archive
from docker_images import VERSION, python_files

IMAGE = "box-python"
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libz.so.1", "librt.so.1", "libdl.so.2", "libpthread.so.0")
"""What wheels of scientific packages take from the system."""


def keep_python(images: Path) -> str:
    """Have an archive of the image `IMAGE` among the images of machines; its file name."""
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    known = {line.split()[0]: Path(line.rpartition("=> ")[2]) for line in listed.splitlines() if "x86-64" in line}
    files = dict(python_files())
    files |= {str(known[name]).lstrip("/"): Path(os.path.realpath(known[name])) for name in LIBRARIES if name in known}
    return keep_archive(images, IMAGE, sorted(files.items(), key=lambda file: file[0]))


def keep_wheels(images: Path, requirements: Path) -> dict[str, Any]:
    """Have wheels of all requirements among the images; settings of the executor by which jobs install from them."""
    digest = hashlib.sha256(VERSION.encode() + requirements.read_bytes()).hexdigest()[:16]
    name = f"wheels-{digest}"
    with (images / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (images / name).exists():
            draft = Path(tempfile.mkdtemp(dir=images))
            shutil.copytree(_fetched(name, requirements), draft, dirs_exist_ok=True)
            draft.chmod(0o755)
            draft.rename(images / name)
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_NO_COMPILE": "1"}
    return {"image": IMAGE, "mounts": [f"/opt/box/images/{name}:/wheels:ro"], "env": env}


def _fetched(name: str, requirements: Path) -> Path:
    """The wheels, from this machine's index, once for all test runs."""
    folder = cloud_image.cache() / name
    with (cloud_image.cache() / "wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = Path(tempfile.mkdtemp(dir=cloud_image.cache()))
            words = ["download", "-q", "--only-binary=:all:", "--dest", draft, "-r", requirements]
            subprocess.run([sys.executable, "-m", "pip", *words], check=True)
            draft.rename(folder)
    return folder
