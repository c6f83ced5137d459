"""Where machines of EC2 are put: their subnet and security group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dstack_aws.ec2_region import Region
from dstack_aws.ec2_request import Place
from dstack_aws.failures import Refused
from dstack_core.errors import InputError

GROUP: Final = "dstack"
PROFILE: Final = "dstack"
MISSING: Final = ("InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed")


def find_place(region: Region, settings: Mapping[str, Any]) -> Place:
    """Where the settings say.

    Raises:
        InputError: the subnet does not exist, or there is no such group in its network.
        StoreError: AWS cannot be asked.
    """
    subnet = str(settings.get("subnet") or "") or None
    group = str(settings.get("security_group", GROUP))
    profile = str(settings.get("instance_profile", PROFILE))
    if subnet and group and not group.startswith("sg-"):
        group = _group_in(region, _subnet(region, subnet)["VpcId"], group)
    return Place(subnet, group, profile)


def zone_of(region: Region, subnet: str) -> str:
    """The zone that a subnet is in. Raises as `find_place`."""
    return str(_subnet(region, subnet)["AvailabilityZone"])


def _subnet(region: Region, subnet: str) -> Mapping[str, Any]:
    def ask() -> dict[str, str]:
        answer = region.ec2.call(
            f"look at the subnet {subnet}", lambda client: client.describe_subnets(SubnetIds=[subnet]), MISSING
        )
        return {name: answer["Subnets"][0][name] for name in ("VpcId", "AvailabilityZone")}

    try:
        found: Mapping[str, Any] = region.remembered(("subnet", subnet), ask)
        return found
    except Refused:
        hint = "dstack config set settings.ec2.subnet subnet-...; it has to be in the first of the regions"
        raise InputError(f"there is no subnet {subnet} in {region.name}", hint=hint) from None


def _group_in(region: Region, network: str, name: str) -> str:
    filters = [{"Name": "vpc-id", "Values": [network]}, {"Name": "group-name", "Values": [name]}]
    found = list(region.pages("look for the security group", "describe_security_groups", "SecurityGroups",
                              Filters=filters))  # fmt: skip
    if not found:
        hint = "dstack aws setup; or dstack config set settings.ec2.security_group sg-..."
        raise InputError(f"there is no security group {name} in {network}", hint=hint, where=f"EC2 in {region.name}")
    return str(found[0]["GroupId"])
