"""The way from here to a machine of EC2: a rule in its security group, for one port and one caller, while it is needed.

It carries the machine's labels, so that it is found when whoever made it was killed, and ends when the machine is gone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from dstack_aws.ec2_region import Region
from dstack_aws.ec2_request import MACHINE, RUN, STORE, USER, user
from dstack_aws.failures import Refused
from dstack_core.backend import Address
from dstack_core.errors import ReachError

THERE: Final = "InvalidPermission.Duplicate"
FULL: Final = "RulesPerSecurityGroupLimitExceeded"
GONE: Final = ("InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidGroup.NotFound")
LABELS: Final = (MACHINE, RUN, STORE)
"""Of a machine, which its rules have, too."""


class Rules:
    """The rules that this process needs, each by its group, port and source. One that another process has made is left
    to that one. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[tuple[str, int, str]] = Counter()
        self._made: dict[tuple[str, int, str], str] = {}

    @contextmanager
    def way(
        self, region: Region, instance: Mapping[str, Any], port: int, source: str, *, private: bool
    ) -> Iterator[Address]:
        """Let `source` in to a port of an instance. Raises ReachError, StoreError."""
        host = str(instance.get("PrivateIpAddress" if private else "PublicIpAddress") or "")
        if not host:
            hint = "dstack config set settings.ec2.ssh_to private, with a VPN; or a subnet that gives public addresses"
            raise ReachError(f"the machine {instance['InstanceId']} has no public address", hint=hint)
        if not instance.get("SecurityGroups"):
            raise ReachError(f"the machine {instance['InstanceId']} has no security group that could let you in")
        group = str(instance["SecurityGroups"][0]["GroupId"])
        key = (group, port, source)
        with self._lock:
            self._add(region, instance, key)  # also if it should be there: somebody may have ended it
            self._users[key] += 1
        try:
            yield Address(host, port)
        finally:
            with self._lock:
                self._users[key] -= 1
                if not self._users[key] and (rule := self._made.pop(key, "")):
                    remove(region, f"{group}/{rule}")

    def _add(self, region: Region, instance: Mapping[str, Any], key: tuple[str, int, str]) -> None:
        group, port, source = key
        labels = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ()) if tag["Key"] in LABELS}
        tags = [{"Key": name, "Value": value} for name, value in {**labels, USER: user()}.items()]
        allowed = {"CidrIp": source, "Description": "dstack: SSH, while somebody reaches a job"}
        asked = {
            "GroupId": group,
            "IpPermissions": [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [allowed]}],
            "TagSpecifications": [{"ResourceType": "security-group-rule", "Tags": tags}],
        }
        act = f"let {source} in to the machine"
        try:
            answer = region.ec2.call(
                act, lambda client: client.authorize_security_group_ingress(**asked), (THERE, FULL)
            )
        except Refused as refused:
            if refused.code == FULL:
                hint = "dstack machines --sweep"
                raise ReachError(f"the security group {group} has no room for a rule", hint=hint) from None
            return
        self._made[key] = str(answer["SecurityGroupRules"][0]["SecurityGroupRuleId"])


def remove(region: Region, name: str) -> None:
    """Remove a rule by `GROUP/RULE`. That it is gone is no error. Raises StoreError."""
    group, _, rule = name.partition("/")
    rules = [rule]
    with suppress(Refused):
        region.ec2.call(
            f"remove the rule {rule}",
            lambda client: client.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=rules),
            GONE,
        )
