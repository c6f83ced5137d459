"""The image that a machine of EC2 starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from dstack_aws.ec2_region import Region
from dstack_aws.ec2_shapes import ARCHITECTURE
from dstack_aws.failures import Refused
from dstack_core.errors import InputError

PLAIN: Final = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
"""Ubuntu, as Canonical publishes it (https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/)."""
WITH_GPU: Final = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
"""Ubuntu with NVIDIA's driver, Docker and its runtime for GPUs, as AWS publishes it
(https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html)."""


class Image(NamedTuple):
    """An image: what its first disk is called, and the least GiB that it needs."""

    id: str
    disk: str
    size: int


def find_image(region: Region, name: str, setting: str) -> Image:
    """The image of that name, as of the last hour.

    Args:
        name: `ami-...`; the path of a parameter that has such an id; or OWNER/NAME, with `*`, for the newest of them.
        setting: what said so; for errors.

    Raises:
        InputError: there is none in this region, or it is for other processors than machines have.
        StoreError: AWS cannot be asked.
    """
    return Image(*region.remembered(("image", name), lambda: list(_ask(region, name, setting))))


def _ask(region: Region, name: str, setting: str) -> Image:
    if name.startswith("/"):
        asked: dict[str, Any] = {"ImageIds": [_parameter(region, name, setting)]}
    elif name.startswith("ami-"):
        asked = {"ImageIds": [name]}
    else:
        owner, _, pattern = name.partition("/")
        filters = {"name": pattern, "state": "available", "architecture": ARCHITECTURE}
        asked = {"Owners": [owner], "Filters": [{"Name": k, "Values": [v]} for k, v in filters.items()]}
    try:
        answer = region.ec2.call(
            f"look at the image {name}", lambda client: client.describe_images(**asked),
            ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable"),
        )  # fmt: skip
    except Refused:
        raise _missing(region, name, setting) from None
    found = sorted(answer["Images"], key=lambda image: str(image.get("CreationDate", "")))
    if not found:
        raise _missing(region, name, setting)
    built = found[-1].get("Architecture", ARCHITECTURE)
    if built != ARCHITECTURE:
        hint = f"dstack config set settings.ec2.{setting} with an image for {ARCHITECTURE}"
        raise InputError(f"the image {name} is for {built}, and machines of dstack are {ARCHITECTURE}", hint=hint)
    return _image(found[-1])


def _parameter(region: Region, path: str, setting: str) -> str:
    try:
        answer = region.ssm.call(
            f"read the parameter {path}", lambda client: client.get_parameter(Name=path), ("ParameterNotFound",)
        )
    except Refused:
        raise _missing(region, path, setting) from None
    return str(answer["Parameter"]["Value"])


def _image(about: Mapping[str, Any]) -> Image:
    disk = about.get("RootDeviceName") or "/dev/sda1"
    sizes = [
        mapping.get("Ebs", {}).get("VolumeSize", 0)
        for mapping in about.get("BlockDeviceMappings", ())
        if mapping.get("DeviceName") == disk
    ]
    return Image(about["ImageId"], disk, max(sizes, default=0))


def _missing(region: Region, name: str, setting: str) -> InputError:
    hint = f"dstack config set settings.ec2.{setting} with an image of that region: ami-..., a parameter, OWNER/NAME*"
    return InputError(f"there is no image {name} in {region.name}", hint=hint)
