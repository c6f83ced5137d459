"""Images as `docker load` takes them, made from files without an engine."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from docker_images import pack


def keep_archive(folder: Path, name: str, files: Iterable[tuple[str, Path | bytes | str]]) -> str:
    """Have an archive of the image `name:latest` in a folder, once for all who want it; the archive's file name."""
    target = folder / f"{name}.tar"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".new")
            _write(partial, name, pack(files))
            partial.rename(target)
    return target.name


def _write(target: Path, name: str, layer: bytes) -> None:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for path, data in (
            ("layer.tar", layer),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
