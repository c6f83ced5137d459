"""Spot requests and spot prices, which moto has for other calls only, or not at all."""

from __future__ import annotations

from typing import Any

from aws_instances import Instances
from cloud_events import Call
from moto.core.utils import utcnow
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance
from moto.ec2.models.spot_requests import SpotInstanceRequest
from moto.ec2.utils import random_spot_request_id

PAGE = 1000


class Market:
    """Prices as tests set them. Whoever calls holds the lock of the whole state."""

    def __init__(self) -> None:
        self._prices: dict[tuple[str, str, str], float] = {}

    def set_price(self, account: str, kind: str, price: float, zone: str = "") -> None:
        """For one zone, or for all that have no price of their own."""
        self._prices[account, kind, zone] = price

    def price(self, account: str, kind: str, zone: str) -> float:
        """In dollars per hour. What no test has set follows the size of the machine."""
        for where in (zone, ""):
            if (account, kind, where) in self._prices:
                return self._prices[account, kind, where]
        known: dict[str, Any] = INSTANCE_TYPES.get(kind, {})
        gpus = sum(gpu.get("Count", 0) for gpu in known.get("GpuInfo", {}).get("Gpus", []))
        memory = known.get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024
        processors = known.get("VCpuInfo", {}).get("DefaultVCpus", 1)
        return float(round(0.01 * processors + 0.001 * memory + 0.3 * gpus, 6))

    def history(self, account: str, offerings: list[dict[str, str]], start: int) -> tuple[list[dict[str, Any]], str]:
        """A page of the price history, which has one entry for each type and zone; and where the next one starts."""
        page = [
            {
                "InstanceType": offering["InstanceType"],
                "AvailabilityZone": offering["Location"],
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{self.price(account, offering['InstanceType'], offering['Location']):.6f}",
                "Timestamp": utcnow(),
            }
            for offering in offerings[start : start + PAGE]
        ]
        return page, str(start + PAGE) if start + PAGE < len(offerings) else ""


class OpenRequest(SpotInstanceRequest):
    """The request behind a spot instance that RunInstances made; moto knows only those that make their instance."""

    __module__ = SpotInstanceRequest.__module__  # where moto's metaclass finds the name of the service

    def __init__(self, instance: Instance, told: dict[str, Any]) -> None:
        options = "InstanceMarketOptions.SpotOptions."
        self._made = instance
        self._since = utcnow()
        super().__init__(
            ec2_backend=instance.ec2_backend,
            spot_request_id=random_spot_request_id(),
            price=told.get(f"{options}MaxPrice", ""),
            image_id=instance.image_id,
            spot_instance_type=told.get(f"{options}SpotInstanceType", "one-time"),
            valid_from=None,
            valid_until=None,
            launch_group=None,
            availability_zone_group=None,
            key_name="",
            security_groups=[group.id for group in instance.security_groups],
            user_data=None,
            instance_type=instance.instance_type,
            placement=instance.availability_zone,
            kernel_id=None,
            ramdisk_id=None,
            monitoring_enabled=False,
            subnet_id=instance.subnet_id or "",
            tags={"spot-instances-request": _tags(told, "spot-instances-request")},
            spot_fleet_id=None,
            instance_interruption_behaviour=told.get(f"{options}InstanceInterruptionBehavior", "terminate"),
        )

    def launch_instance(self) -> Instance:
        return self._made

    @property
    def create_time(self) -> Any:
        return self._since

    def close(self, code: str) -> None:
        """AWS closes a request that is made once with its instance."""
        self.state, self._status_code = "closed", code


def open_request(instance: Any, call: Call | None) -> None:
    """Have a request for a spot instance."""
    request = OpenRequest(instance, call.parameters if call else {})
    instance.spot_instance_request_id = request.id
    instance.ec2_backend.spot_instance_requests[request.id] = request


def close_requests(instances: Instances, account: str, backend: Any) -> None:
    """Close the requests whose instances are gone, as AWS does with those that are made once."""
    for request in backend.spot_instance_requests.values():
        record = instances.records.get(request.instance.id)
        gone = record is not None and record.phase in ("ending", "gone")
        if isinstance(request, OpenRequest) and gone and request.state == "active":
            taken = request.instance.state_reason.code == "Server.SpotInstanceTermination"
            request.close("instance-terminated-no-capacity" if taken else "instance-terminated-by-user")


def _tags(told: dict[str, Any], kind: str) -> dict[str, str]:
    """Tags for one kind of thing in the parameters of a call."""
    found: dict[str, str] = {}
    for number in range(1, 10):
        if told.get(f"TagSpecification.{number}.ResourceType") == kind:
            for tag in range(1, 60):
                prefix = f"TagSpecification.{number}.Tag.{tag}."
                if f"{prefix}Key" in told:
                    found[told[f"{prefix}Key"]] = told.get(f"{prefix}Value", "")
    return found
