"""The disk that machines start from: a small Debian with Python, Docker and curl, made once and kept.

It is made again when this recipe changes, and kept by the recipe's digest below DSTACK_TEST_CACHE, by default
`~/.cache/dstack-tests`. It takes one to two minutes and 330 MB.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from docker_engine import which

RELEASE = "bookworm"
PACKAGES = (
    "bash", "ca-certificates", "curl", "docker.io", "iproute2", "iptables", "libfaketime", "openssh-server", "procps",
    "python3", "python3-venv",
)  # fmt: skip
WITHOUT = (
    "/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/perl", "/usr/bin/ctr",
    "/usr/lib/x86_64-linux-gnu/perl", "/usr/bin/dnet", "/usr/sbin/ovrouter", "/usr/bin/containerd-stress",
    "/usr/bin/containerd-shim", "/usr/bin/containerd-shim-runc-v1",
)  # fmt: skip
"""Each run of tests copies the disk once, so what no machine needs is left out."""
PROGRAMS = ("mmdebstrap", "dockerd", "docker", "iptables", "ip", "busybox", "nsenter", "unshare", "ssh")


def cache() -> Path:
    """Where things are kept that are slow to make, and the same each time."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dstack-tests"
    folder = Path(os.environ.get("DSTACK_TEST_CACHE") or usual)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_programs() -> None:
    """Skip the test on a machine that cannot have machines."""
    lacking = [program for program in PROGRAMS if not which(program)]
    if os.geteuid():
        lacking.append("root")
    if lacking:
        pytest.skip(f"machines need {', '.join(lacking)}")


def disk(packages: Sequence[str] = PACKAGES, without: Sequence[str] = WITHOUT) -> Path:
    """The tar archive of the disk; of one with other packages, and without other files of theirs."""
    command = [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
        f"--customize-hook=rm -rf {' '.join(f'$1{path}' for path in without)}", RELEASE,
    ]  # fmt: skip
    digest = hashlib.sha256(repr(command).encode()).hexdigest()[:16]
    target = cache() / f"machine-{digest}.tar"
    with (cache() / "machine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".new.tar")
            done = subprocess.run([*command, partial], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"mmdebstrap: {done.stderr[-2000:]}")
            partial.rename(target)
    return target
