"""What an account still has that costs money."""

from __future__ import annotations

from aws_instances import Instances
from cloud_machines import Machines
from moto.ec2.models import ec2_backends

_GONE = ("deleted", "deleting")


def leftovers(account: str, instances: Instances, machines: Machines) -> list[str]:
    """Instances that are not terminated, volumes, addresses, open spot requests, machines. None: it is empty."""
    found = []
    for region, backend in ec2_backends[account].items():
        found += [f"{one.id} is {one.state} in {region}" for one in backend.all_instances() if one.state_code != 48]
        for volume in backend.volumes.values():
            if volume.status not in _GONE:
                found.append(f"volume {volume.id} is {volume.status} in {region}")
        found += [f"address {address.public_ip} in {region}" for address in backend.addresses]
        rules = [rule for vpc in backend.groups.values() for group in vpc.values() for rule in group.ingress_rules]
        found += [f"rule {rule.id} lets {rule.ip_range} in in {region}" for rule in rules if rule.get_tags()]
        for request in backend.spot_instance_requests.values():
            if request.state in ("open", "active"):
                found.append(f"spot request {request.id} is {request.state} in {region}")
    there = set(machines.names())
    found += [f"machine {name}" for name, one in instances.records.items() if one.account == account and name in there]
    return found


def empty(account: str, instances: Instances) -> None:
    """End whatever an account has. Volumes and addresses are only forgotten."""
    for backend in ec2_backends[account].values():
        for instance in backend.all_instances():
            if instance.state_code != 48:
                instance.disable_api_termination = False
                instances.take(instance.id, "Client.UserInitiatedShutdown", "the test is over")
        for kept in (backend.volumes, backend.addresses, backend.spot_instance_requests):
            kept.clear()
