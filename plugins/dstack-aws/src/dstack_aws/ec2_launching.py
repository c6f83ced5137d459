"""RunInstances, and what its errors mean."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Final

from dstack_aws.ec2_region import Region
from dstack_aws.failures import Refused
from dstack_core.errors import CapacityError, InputError
from dstack_core.models import Offer

NONE_LEFT: Final = frozenset(
    {"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity",
     "InsufficientCapacity", "InsufficientFreeAddressesInSubnet", "SpotMaxPriceTooLow", "Unsupported",
     "UnsupportedOperation"}
)  # fmt: skip
"""Not this type here and now. Of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
QUOTA: Final = frozenset(
    {"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "MaxSpotFleetRequestCountExceeded",
     "VolumeLimitExceeded", "MaxIOPSLimitExceeded", "AddressLimitExceeded"}
)  # fmt: skip
USED: Final = "IdempotentParameterMismatch"
"""This machine was launched before, with other parameters: a link in its user data is a new one each time."""
NO_GROUP: Final = frozenset({"InvalidGroup.NotFound", "InvalidGroupId.Malformed", "InvalidSecurityGroupID.NotFound"})
NO_NETWORK: Final = frozenset({"DefaultVpcDoesNotExist", "VPCIdNotSpecified", "MissingInput"})
WRONG: Final = "InvalidParameterValue"
NEW_PROFILE: Final = 20.0
"""Seconds in which a profile that was just made may still be unknown to EC2."""


def run_instance(region: Region, offer: Offer, asked: Mapping[str, Any]) -> str | None:
    """The id of the instance; None if this machine was launched before, by a call with other parameters.

    Raises:
        CapacityError, InputError, StoreError: see `Ec2Backend.launch`.
    """
    tolerated = {*NONE_LEFT, *QUOTA, *NO_GROUP, *NO_NETWORK, USED, WRONG}
    since = time.monotonic()
    while True:
        try:
            answer = region.ec2.call("start a machine", lambda client: client.run_instances(**asked), tolerated)
            return str(answer["Instances"][0]["InstanceId"])
        except Refused as refused:
            if refused.code == USED:
                return None
            unknown_profile = refused.code == WRONG and "rofile" in refused.message
            if not unknown_profile or time.monotonic() - since > NEW_PROFILE:
                raise _explain(region, offer, asked, refused) from None
        time.sleep(random.uniform(0.5, 2))  # noqa: S311


def _explain(region: Region, offer: Offer, asked: Mapping[str, Any], refused: Refused) -> Exception:
    code, where = refused.code, f"EC2 in {region.name}"
    place = offer.zone or region.name
    kind = "spot machine" if offer.spot else "machine"
    if code in QUOTA:
        hint = f"ask AWS for a higher quota of EC2 in {region.name} (Service Quotas), or choose other instance_types"
        message = f"the account's quota of such a {kind} in {region.name} is used up ({code}: {refused.message})"
        return CapacityError(message, hint=hint)
    if code in NONE_LEFT:
        hint = "try again later, or allow other machines"
        return CapacityError(f"no such {kind} is to be had in {place} now ({code})", hint=hint)
    if code in NO_GROUP:
        group = asked.get("SecurityGroups", asked.get("SecurityGroupIds", [""]))[0]
        hint = "dstack aws setup; or dstack config set settings.ec2.security_group NAME"
        return InputError(f"there is no security group {group}", hint=hint, where=where)
    if code in NO_NETWORK:
        hint = "dstack config set settings.ec2.subnet subnet-..., or have AWS make a default network again"
        return InputError("the account has no default network", hint=hint, where=where)
    if "rofile" in refused.message:
        hint = "dstack aws setup; or dstack config set settings.ec2.instance_profile NAME"
        name = asked.get("IamInstanceProfile", {}).get("Name", "")
        return InputError(f"there is no instance profile {name}", hint=hint, where=where)
    return InputError(
        f"cannot start {offer.name} in {place}: {refused.message} ({code})", hint="dstack config --show", where=where
    )
