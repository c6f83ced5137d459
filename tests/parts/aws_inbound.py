"""Security groups as far as dstack needs them: a rule for TCP lets those addresses of this machine in that it names.

An instance's public address is one of this machine's loopback, so that `ssh` finds it; behind a port of it there is a
machine only while a rule says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from aws_instances import Instances
from cloud_inbound import Inbound
from moto.ec2.models import ec2_backends

ACTIONS = ("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress")


def follow(inbound: Inbound, instances: Instances, account: str, region: str) -> None:
    """Make what leads to machines what the rules of their groups say. Whoever calls holds the lock."""
    for instance in ec2_backends[account][region].all_instances():
        record = instances.records[instance.id]
        runs = record.phase == "running"
        rules = [rule for rule in _rules(instance) if runs]
        wanted = {port: rule for rule in rules for port in range(rule.from_port, rule.to_port + 1)}
        host = str(instance.public_ip)
        for place, port in inbound.of(instance.id):
            if not runs or (place == host and port not in wanted):
                inbound.close(place, port)
        for port, rule in wanted.items():
            admits = _Admits(rule.ip_range["CidrIp"])
            inbound.open(instance.id, record.address, port, host, port, admits)


class _Admits:
    """Whether an address is in a network."""

    def __init__(self, network: str) -> None:
        self._network = ipaddress.ip_network(network)

    def __call__(self, address: str) -> bool:
        return ipaddress.ip_address(address) in self._network


def _rules(instance: Any) -> Iterator[Any]:
    for group in instance.security_groups:
        for rule in group.ingress_rules:
            if rule.ip_protocol == "tcp" and rule.ip_range.get("CidrIp"):
                yield rule
