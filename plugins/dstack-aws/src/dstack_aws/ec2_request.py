"""What is asked of RunInstances, as data."""

from __future__ import annotations

import getpass
import math
import os
import re
from typing import Any, Final, NamedTuple

from dstack_aws.ec2_images import Image
from dstack_core.cloud.boot import boot_script
from dstack_core.models import Launch, Offer

MACHINE: Final = "dstack:machine"
RUN: Final = "dstack:run"
USER: Final = "dstack:user"
STORE: Final = "dstack:store"
GIB: Final = 1 << 30
_REFUSED: Final = re.compile(r"[^\w .:/=+@-]")
"""What no value of a tag may have (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html)."""


class Place(NamedTuple):
    """Where machines are put. `group`: id of a security group; or its name, for one of the default network."""

    subnet: str | None
    group: str
    profile: str


def request(offer: Offer, launch: Launch, image: Image, place: Place) -> dict[str, Any]:
    """The parameters of RunInstances.

    The instance ends with its own shutdown, and its disk with it. Whatever it makes is labelled in this very call. The
    metadata service gives nothing without a token, and a token does not get further than the machine itself: to no
    container.
    """
    labels = [{"Key": key, "Value": value} for key, value in _labels(launch).items()]
    labelled = ("instance", "volume", "network-interface", *(("spot-instances-request",) if offer.spot else ()))
    asked: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": offer.name,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": launch.machine,
        "UserData": boot_script(launch),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [{"DeviceName": image.disk, "Ebs": _disk(offer, image)}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": labels} for kind in labelled],
        **_network(offer, place),
    }
    if place.profile:
        asked["IamInstanceProfile"] = {"Name": place.profile}
    if offer.spot:
        once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        asked["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
    return asked


def user() -> str:
    """Who launches: DSTACK_USER, else the login name."""
    return os.environ.get("DSTACK_USER") or getpass.getuser()


def _labels(launch: Launch) -> dict[str, str]:
    found = {
        "Name": f"dstack {launch.run}",
        MACHINE: launch.machine,
        RUN: launch.run,
        USER: user(),
        STORE: launch.store,
    }
    return {key: _REFUSED.sub("_", value)[:256] for key, value in found.items() if value}


def _disk(offer: Offer, image: Image) -> dict[str, Any]:
    size = max(math.ceil((offer.disk or 0) / GIB), image.size, 1)
    return {"VolumeSize": size, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}


def _network(offer: Offer, place: Place) -> dict[str, Any]:
    """With a subnet, its zone is the machine's; without, the default subnet of the offer's zone is taken."""
    found: dict[str, Any] = {"SubnetId": place.subnet} if place.subnet else {}
    if not place.subnet and offer.zone:
        found["Placement"] = {"AvailabilityZone": offer.zone}
    if place.group.startswith("sg-"):
        found["SecurityGroupIds"] = [place.group]
    elif place.group:
        found["SecurityGroups"] = [place.group]
    return found
