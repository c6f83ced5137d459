"""Makes what machines need in an account: a role with its policy, an instance profile, a security group.

Each step looks at what is there, so that whoever runs it again, or at the same time as somebody else, comes to the same
end from any half-done state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dstack_aws.account import Account
from dstack_aws.calls import Calls
from dstack_aws.ec2_region import Region
from dstack_aws.failures import Refused
from dstack_aws.policies import NAME, TRUST, Scope, machine
from dstack_core.errors import InputError

EXISTS: Final = ("EntityAlreadyExists", "LimitExceeded", "InvalidGroup.Duplicate")
"""Somebody was first. A profile takes one role, and says of a second that there are too many."""
ABOUT: Final = "Machines that dstack starts"


class Setup:
    """Raises InputError when something of that name is somebody else's, StoreError when AWS refuses.

    Args:
        scope: what the role's policy is about; its `profile` is the name of role and profile.
    """

    def __init__(self, account: Account, scope: Scope, patience: float) -> None:
        self._scope = scope
        self._name = scope.profile
        self._iam = Calls(account, lambda: account.client("iam", regionless=True), "IAM", patience)

    def role(self) -> Iterator[str]:
        """The role and the profile; yields what was done, in words."""
        name, trust = self._name, json.dumps(TRUST)
        made = self._make(
            f"make the role {name}",
            lambda client: client.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Description=ABOUT),
        )
        if not made and self._trusts() != TRUST:
            self._iam.call(
                f"change the role {name}",
                lambda client: client.update_assume_role_policy(RoleName=name, PolicyDocument=trust),
            )
        yield f"role {name}: {'made' if made else 'is there'}"
        policy = json.dumps(machine(self._scope))
        self._iam.call(
            f"change the role {name}",
            lambda client: client.put_role_policy(RoleName=name, PolicyName=NAME, PolicyDocument=policy),
        )
        also = "launch machines like itself" if self._scope.launches else "launch no machines"
        yield f"its policy: may use the bucket {self._scope.bucket}, and {also}"
        made = self._make(
            f"make the instance profile {name}",
            lambda client: client.create_instance_profile(InstanceProfileName=name),
        )
        self._join()
        yield f"instance profile {name}: {'made' if made else 'is there'}"

    def _make(self, act: str, work: Callable[[Any], object]) -> bool:
        """Whether it was not there."""
        try:
            self._iam.call(act, work, EXISTS)
        except Refused:
            return False
        return True

    def _trusts(self) -> Mapping[str, Any]:
        answer = self._iam.call(f"look at the role {self._name}", lambda client: client.get_role(RoleName=self._name))
        document = answer["Role"]["AssumeRolePolicyDocument"]
        found: Mapping[str, Any] = json.loads(document) if isinstance(document, str) else document
        return found

    def _join(self) -> None:
        """Put the role into the profile."""
        name = self._name
        if not self._roles():
            self._make(
                f"change the instance profile {name}",
                lambda client: client.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name),
            )
        roles = self._roles()
        if roles != [name]:
            hint = "dstack config set settings.ec2.instance_profile NAME: another one"
            raise InputError(f"the instance profile {name} has another role: {', '.join(roles)}", hint=hint)

    def _roles(self) -> list[str]:
        act = f"look at the instance profile {self._name}"
        answer = self._iam.call(act, lambda client: client.get_instance_profile(InstanceProfileName=self._name))
        return [role["RoleName"] for role in answer["InstanceProfile"]["Roles"]]


def make_group(region: Region, name: str, subnet: str | None) -> Iterator[str]:
    """The security group, which lets nothing in, in the subnet's network or the default one; yields what was done."""
    network = _network(region, subnet)
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": "Name", "Value": name}]}]
    made = True
    try:
        region.ec2.call(
            f"make the security group {name}",
            lambda client: client.create_security_group(
                GroupName=name, Description=ABOUT, VpcId=network, TagSpecifications=tags
            ),
            EXISTS,
        )
    except Refused:
        made = False
    filters = [{"Name": "vpc-id", "Values": [network]}, {"Name": "group-name", "Values": [name]}]
    listed = region.pages("look at security groups", "describe_security_groups", "SecurityGroups", Filters=filters)
    for group in listed:
        if group.get("IpPermissions"):
            yield f"warning: the security group {name} ({group['GroupId']}) lets something in; dstack needs nothing"
    yield f"security group {name} in {region.name}: {'made' if made else 'is there'}"


def _network(region: Region, subnet: str | None) -> str:
    if subnet:
        found = list(region.pages("look at the subnet", "describe_subnets", "Subnets", SubnetIds=[subnet]))
    else:
        default = [{"Name": "is-default", "Values": ["true"]}]
        found = list(region.pages("look for the default network", "describe_vpcs", "Vpcs", Filters=default))
    if not found:
        hint = "dstack config set settings.ec2.subnet subnet-...: one with a way to the internet"
        raise InputError(f"the account has no default network in {region.name}", hint=hint)
    return str(found[0]["VpcId"])
