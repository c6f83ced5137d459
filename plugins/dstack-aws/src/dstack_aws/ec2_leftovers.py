"""What of ours is in a region, found by its label: instances, disks, addresses, spot requests, rules that let somebody
in; and how each ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from dstack_aws import ec2_reach
from dstack_aws.ec2_prices import GB, Prices
from dstack_aws.ec2_region import Region
from dstack_aws.ec2_request import MACHINE, RUN, STORE
from dstack_aws.failures import Refused
from dstack_core.backend import Leftover

OURS: Final = [{"Name": "tag-key", "Values": [MACHINE]}]
ADDRESS_PRICE: Final = 0.005
"""USD per hour of a public address (https://aws.amazon.com/vpc/pricing/)."""
GONE: Final = (
    "InvalidInstanceID.NotFound", "InvalidVolume.NotFound", "InvalidAllocationID.NotFound",
    "InvalidSpotInstanceRequestID.NotFound", "InvalidInstanceID.Malformed",
)  # fmt: skip


def find(region: Region, prices: Prices) -> Iterator[Leftover]:
    """All of a region. A disk that hangs on an instance goes with it, and is not told. Raises StoreError."""
    states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
    for reservation in region.pages("list machines", "describe_instances", "Reservations", Filters=[*OURS, states]):
        for one in reservation["Instances"]:
            spot = one.get("InstanceLifecycle") == "spot"
            zone = one.get("Placement", {}).get("AvailabilityZone", "")
            price = _price(region, prices, one["InstanceType"], zone, spot=spot)
            yield _leftover("machine", one["InstanceId"], one, region, one.get("LaunchTime"), price)
    free = {"Name": "status", "Values": ["available", "error"]}
    for one in region.pages("list disks", "describe_volumes", "Volumes", Filters=[*OURS, free]):
        price = prices.disk(one.get("Size", 0) * GB, region.name)
        yield _leftover("disk", one["VolumeId"], one, region, one.get("CreateTime"), price)
    for one in region.pages("list addresses", "describe_addresses", "Addresses", Filters=OURS):
        yield _leftover("address", one["AllocationId"], one, region, None, ADDRESS_PRICE)
    active = {"Name": "state", "Values": ["open", "active"]}
    asked = {"Filters": [*OURS, active]}
    for one in region.pages("list spot requests", "describe_spot_instance_requests", "SpotInstanceRequests", **asked):
        yield _leftover("request", one["SpotInstanceRequestId"], one, region, one.get("CreateTime"), 0.0)
    for one in region.pages("list rules", "describe_security_group_rules", "SecurityGroupRules", Filters=OURS):
        yield _leftover("rule", f"{one['GroupId']}/{one['SecurityGroupRuleId']}", one, region, None, 0.0)


def end(region: Region, leftover: Leftover) -> None:
    """End one. Raises StoreError."""
    name = leftover.id
    if leftover.kind == "machine":
        terminate(region, [name])
    elif leftover.kind == "disk":
        _end(region, f"delete the disk {name}", lambda client: client.delete_volume(VolumeId=name))
    elif leftover.kind == "address":
        _end(region, f"release the address {name}", lambda client: client.release_address(AllocationId=name))
    elif leftover.kind == "rule":
        ec2_reach.remove(region, name)
    else:
        requests = [name]
        _end(
            region,
            f"cancel the request {name}",
            lambda client: client.cancel_spot_instance_requests(SpotInstanceRequestIds=requests),
        )


def terminate(region: Region, instances: Sequence[str]) -> None:
    """End instances, one by one: of several, EC2 ends none if one is gone. Raises StoreError."""
    for name in instances:
        _end(region, f"end the machine {name}", _termination(name))


def _termination(name: str) -> Callable[[Any], object]:
    return lambda client: client.terminate_instances(InstanceIds=[name])


def _end(region: Region, act: str, work: Callable[[Any], object]) -> None:
    with suppress(Refused):
        region.ec2.call(act, work, GONE)


def _leftover(kind: Any, name: str, about: Mapping[str, Any], region: Region, made: Any, price: float) -> Leftover:
    labels = {tag["Key"]: tag["Value"] for tag in about.get("Tags", ())}
    created = made.timestamp() if made else 0.0
    return Leftover(
        kind, name, labels.get(MACHINE, ""), labels.get(RUN, ""), labels.get(STORE, ""), region.name, created, price
    )


def _price(region: Region, prices: Prices, name: str, zone: str, *, spot: bool) -> float:
    if spot:
        return prices.spot(region).get(name, {}).get(zone, 0.0)
    return prices.on_demand(name, region) or 0.0
