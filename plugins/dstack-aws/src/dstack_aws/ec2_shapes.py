"""The machine types that a region of EC2 has, and in which of its zones."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dstack_aws.ec2_region import Region
from dstack_core.codec import from_plain, to_plain
from dstack_core.models import Gpu

LEAST: Final = 2 << 30
"""Bytes of memory of the smallest machine that is offered: a container engine, a runner and a job need as much."""
MIB: Final = 1 << 20
ARCHITECTURE: Final = "x86_64"
"""Of images, of the wheels that a machine starts from, and so of machines."""
CHUNK: Final = 100
"""Types that may be asked for by name at once."""


@dataclass(frozen=True)
class Shape:
    """A type of machines.

    Attributes:
        spot: it can be had as such.
        unfit: why no machine of dstack can be one; empty if it can.
    """

    name: str
    cpu: float
    memory: int
    gpu: Gpu | None
    spot: bool
    zones: tuple[str, ...]
    unfit: str = ""


def shapes(region: Region, allowed: Sequence[str]) -> list[Shape]:
    """The types of a region, as of the last hour.

    Args:
        allowed: names or patterns like `g5.*`, the only types to look at; empty: all.

    Raises:
        StoreError: AWS cannot be asked.
    """
    found = region.remembered(("shapes", *allowed), lambda: to_plain(list(_ask(region, allowed))))
    return [from_plain(Shape, one) for one in found]


def _ask(region: Region, allowed: Sequence[str]) -> Iterator[Shape]:
    act = "list machine types"
    zones: dict[str, list[str]] = {}
    kind = {"LocationType": "availability-zone"}
    for one in region.pages(act, "describe_instance_type_offerings", "InstanceTypeOfferings", **kind):
        if not allowed or any(fnmatch.fnmatchcase(one["InstanceType"], pattern) for pattern in allowed):
            zones.setdefault(one["InstanceType"], []).append(one["Location"])
    names = sorted(zones)
    for start in range(0, len(names), CHUNK):
        some = names[start : start + CHUNK]
        for about in region.pages(act, "describe_instance_types", "InstanceTypes", InstanceTypes=some):
            yield _shape(about, tuple(sorted(zones[about["InstanceType"]])))


def _unfit(about: Mapping[str, Any]) -> str:
    """Why the images do not start on it, or a job would have no room."""
    architectures = about["ProcessorInfo"]["SupportedArchitectures"]
    if ARCHITECTURE not in architectures:
        return f"its processors are {' and '.join(architectures)}, and machines start from images for {ARCHITECTURE}"
    if about.get("BareMetal"):
        return "it is bare metal"
    starts = (
        "ebs" in about.get("SupportedRootDeviceTypes", ())
        and "hvm" in about.get("SupportedVirtualizationTypes", ())
        and about.get("NetworkInfo", {}).get("EnaSupport") != "unsupported"
    )
    if not starts:
        return "today's images do not start on it"
    if about["MemoryInfo"]["SizeInMiB"] * MIB < LEAST:
        return f"it has less than {LEAST >> 30} GiB of memory"
    others = {str(gpu.get("Manufacturer")) for gpu in about.get("GpuInfo", {}).get("Gpus", ())} - {"NVIDIA"}
    return f"its GPUs are of {' and '.join(sorted(others))}, and jobs are given those of NVIDIA" if others else ""


def _shape(about: Mapping[str, Any], zones: tuple[str, ...]) -> Shape:
    return Shape(
        about["InstanceType"],
        float(about["VCpuInfo"]["DefaultVCpus"]),
        about["MemoryInfo"]["SizeInMiB"] * MIB,
        _gpu(about.get("GpuInfo", {}).get("Gpus", ())),
        "spot" in about.get("SupportedUsageClasses", ()),
        zones,
        _unfit(about),
    )


def _gpu(gpus: Sequence[Mapping[str, Any]]) -> Gpu | None:
    """A type has GPUs of one kind."""
    for gpu in gpus:
        return Gpu(gpu.get("Count", 1), gpu.get("Name"), gpu.get("MemoryInfo", {}).get("SizeInMiB", 0) * MIB or None)
    return None
