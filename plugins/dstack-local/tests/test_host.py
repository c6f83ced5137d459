"""What this machine has, as seen through affinity, control groups and nvidia-smi; and what fits on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dstack_local import host
from dstack_local.backend import LocalBackend
from dstack_local.fit import best, reasons

from dstack_core.matching import satisfies
from dstack_core.models import Gpu, Requirements

V100 = Gpu(1, "Tesla V100-SXM2-16GB", 16160 << 20)
A10 = Gpu(1, "NVIDIA A10G", 23028 << 20)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "ROOT", str(tmp_path))
    return tmp_path


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho asked >> {folder}/calls\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_affinity_mask_counts() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from dstack_local import host; print(host.cpus())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout in ("1.0\n", "0.5\n")


def test_control_groups_of_version_2(system: Path) -> None:
    put(system, proc__self__cgroup="0::/a/b", sys__fs__cgroup__a__cpu_DOT_max="50000 100000",
        sys__fs__cgroup__a__b__cpu_DOT_max="max 100000", sys__fs__cgroup__a__memory_DOT_max="max",
        sys__fs__cgroup__a__b__memory_DOT_max="1048576")  # fmt: skip
    assert (host.cpus(), host.memory()) == (0.5, 1 << 20)


def test_control_groups_of_version_1(system: Path) -> None:
    put(system, proc__self__cgroup="4:memory:/m\n2:cpu,cpuacct:/c\n1:name=systemd:/")
    folder = system / "sys/fs/cgroup/cpu,cpuacct/c"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("25000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    put(system, sys__fs__cgroup__memory__memory_DOT_limit_in_bytes="2097152")
    assert (host.cpus(), host.memory()) == (0.25, 2 << 20)


def test_no_limits(system: Path) -> None:
    free = host.cpus(), host.memory()
    put(system, proc__self__cgroup="2:cpu:/\n1:memory:/\n0::/", sys__fs__cgroup__cpu__cpu_DOT_cfs_quota_us="-1",
        sys__fs__cgroup__cpu__cpu_DOT_cfs_period_us="100000",
        sys__fs__cgroup__memory__memory_DOT_limit_in_bytes="9223372036854771712")  # fmt: skip
    assert (host.cpus(), host.memory()) == free
    assert free[0] >= 1


def test_gpus_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path / "bin", monkeypatch, 'printf "Tesla V100-SXM2-16GB, 16160\\nTesla V100-SXM2-16GB, 16160\\n"')
    assert host.gpus() == host.gpus() == [V100, V100]
    assert (tmp_path / "bin" / "calls").read_text() == "asked\n"
    (offer,) = LocalBackend({}).offers(Requirements(gpu=Gpu(2, "V100", 16 << 30))).fitting
    assert offer.gpu == Gpu(2, V100.name, V100.memory, (0, 1))


@pytest.mark.parametrize(("name", "devices"), [("V100", (0, 2)), ("A10G", (1,))])
def test_the_offer_tells_which_gpus_it_means(name: str, devices: tuple[int, ...]) -> None:
    kind = best([V100, A10, V100], Gpu(1, name))
    assert kind
    assert (kind.count, kind.devices) == (len(devices), devices)


def test_only_gpus_that_the_caller_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path / "bin", monkeypatch, 'printf "Tesla V100-SXM2-16GB, 16160\\nNVIDIA A10G, 23028\\n"')
    for visible, expected in (("1", [A10]), ("", []), ("0,1", [V100, A10]), ("GPU-1234", [V100]), ("7", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert host.gpus() == expected


@pytest.mark.parametrize("wanted", [Gpu(1, None, 16 << 30), Gpu(1, "T4"), Gpu(1, "t4", 15 << 30), Gpu(1, "esla"),
                                    Gpu(1, "T4", 17 << 30)])  # fmt: skip
def test_what_is_offered_is_what_core_will_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Gpu) -> None:
    smi(tmp_path / "bin", monkeypatch, 'printf "Tesla T4, 15360\\n"')
    (any_offer,) = LocalBackend({}).offers(Requirements()).fitting
    fits = satisfies(any_offer, Requirements(gpu=wanted))
    assert bool(LocalBackend({}).offers(Requirements(gpu=wanted)).fitting) is fits


@pytest.mark.parametrize("script", ["exit 9", "echo NVIDIA-SMI has failed", "echo a, b", "echo 'No devices, found'"])
def test_a_broken_driver_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    smi(tmp_path / "bin", monkeypatch, script)
    assert host.gpus() == []


@pytest.mark.parametrize(("wanted", "fits"), [
    (Gpu(1), True), (Gpu(2), True), (Gpu(3), False), (Gpu(1, "V100"), True), (Gpu(1, "v100-sxm2"), True),
    (Gpu(1, "Tesla V100"), True), (Gpu(1, "V10"), False), (Gpu(1, "A100"), False), (Gpu(1, None, 16 << 30), True),
    (Gpu(1, None, 24 << 30), True), (Gpu(1, "V100", 24 << 30), False), (Gpu(1, "A10G"), True),
    (Gpu(2, "A10G"), False)])  # fmt: skip
def test_which_gpus_fit(wanted: Gpu, fits: bool) -> None:
    have = best([V100, A10, V100], wanted)
    assert (reasons(Requirements(gpu=wanted), 1, 1, have) == []) is fits
