"""Which machine this is, since when it runs, and what it has: CPUs, memory, GPUs."""

from __future__ import annotations

import json
import math
import os
import shutil
from contextlib import suppress

from dstack_core.home import dstack_home
from dstack_core.models import Gpu

ROOT = ""
"""Where `/proc` and `/sys` are looked for; tests put others there."""


def host_id() -> str:
    """Names this machine, or container, across boots."""
    return _line("/etc/machine-id") or os.uname().nodename


def boot_id() -> str:
    """Differs from boot to boot; empty where the system does not tell."""
    return _line("/proc/sys/kernel/random/boot_id")


def pid_space() -> str:
    """Which numbering of processes this is: a container has its own."""
    try:
        return os.readlink(f"{ROOT}/proc/self/ns/pid")
    except OSError:
        return ""


def cpus() -> float:
    """CPUs that this process may use: of the machine, of its affinity mask, of its control group."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for folder in _control_groups("cpu"):
        quota, _, period = _line(f"{folder}/cpu.max").partition(" ")
        quota = quota or _line(f"{folder}/cpu.cfs_quota_us")
        period = period or _line(f"{folder}/cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            count = min(count, int(quota) / int(period))
    return count


def memory() -> int:
    """Bytes of memory that this process may use: of the machine, of its control group."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _control_groups("memory"):
        limit = _line(f"{folder}/memory.max") or _line(f"{folder}/memory.limit_in_bytes")
        if limit.isdigit() and int(limit):
            size = min(size, int(limit))
    return size


def shared_memory() -> float:
    """Bytes that fit into /dev/shm; infinite where there is none to run out of."""
    try:
        status = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return math.inf
    return status.f_frsize * status.f_blocks


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine, one item each, in the order of their indices.

    nvidia-smi can take seconds, so its answer is kept until the next boot.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    now = f"{boot_id()} {program} {os.stat(program).st_mtime_ns}"
    path = f"{dstack_home()}/cache/gpus.json"
    with suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as file:
        kept = json.load(file)
        if kept["when"] == now:
            return _visible([Gpu(1, str(name), int(size)) for name, size in kept["gpus"]])
    found = _ask(program)
    if found is None:
        return []
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        new = f"{path}.{os.getpid()}"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"when": now, "gpus": [(gpu.name, gpu.memory) for gpu in found]}, file)
        os.rename(new, path)
    return _visible(found)


def _ask(program: str) -> list[Gpu] | None:
    import subprocess

    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True)
        rows = [line.rsplit(",", 1) for line in answer.stdout.splitlines() if "," in line]
        return [Gpu(1, name.strip(), int(size) << 20) for name, size in rows]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _visible(found: list[Gpu]) -> list[Gpu]:
    """Those that the caller lets its programs see; ids that are no indices (UUIDs) are taken in order."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return found
    ids = [i for i in wanted.split(",") if i.strip() and i.strip() != "-1"]
    if all(i.strip().isdigit() for i in ids):
        return [found[int(i)] for i in ids if int(i) < len(found)]
    return found[: len(ids)]


def _control_groups(controller: str) -> list[str]:
    """The folders of our control group for `controller` and of all above it, version 1 and version 2."""
    try:
        with open(f"{ROOT}/proc/self/cgroup", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    folders = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            roots = [f"{ROOT}/sys/fs/cgroup", f"{ROOT}/sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            roots = [f"{ROOT}/sys/fs/cgroup/{name}" for name in (controllers, controller)]
        else:
            continue
        parts = [part for part in path.split("/") if part]
        folders += ["/".join([root, *parts[:n]]) for root in roots for n in range(len(parts) + 1)]
    return folders


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip()
    except OSError:
        return ""
