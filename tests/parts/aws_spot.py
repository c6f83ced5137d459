"""Spot requests and spot prices, which moto has for other calls only, or not at all."""

from __future__ import annotations

from typing import Any

from aws_instances import Instances, Record
from cloud_events import Call
from moto.core.utils import utcnow
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.spot_requests import LaunchSpecification, SpotInstanceRequest
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
        known = INSTANCE_TYPES.get(kind, {})
        gpus = sum(gpu.get("Count", 0) for gpu in known.get("GpuInfo", {}).get("Gpus", []))
        memory = known.get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024
        return round(0.01 * known.get("VCpuInfo", {}).get("DefaultVCpus", 1) + 0.001 * memory + 0.3 * gpus, 6)

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


def open_request(record: Record, call: Call | None) -> None:
    """The request behind a spot instance that RunInstances made."""
    instance = record.instance
    told = call.parameters if call else {}
    options = "InstanceMarketOptions.SpotOptions."
    request = SpotInstanceRequest.__new__(SpotInstanceRequest)
    super(SpotInstanceRequest, request).__init__()
    request.ec2_backend = instance.ec2_backend
    request.id = random_spot_request_id()
    request.launch_specification = LaunchSpecification(
        None, None, instance.image_id, None, instance.instance_type, instance.availability_zone, False,
        instance.subnet_id,
    )  # fmt: skip
    request.price = told.get(f"{options}MaxPrice", "")
    request.type = told.get(f"{options}SpotInstanceType", "one-time")
    request.instance_interruption_behaviour = told.get(f"{options}InstanceInterruptionBehavior", "terminate")
    request.valid_from = request.valid_until = request.launch_group = request.availability_zone_group = None
    request.user_data, request.spot_fleet_id, request.launch_spec = None, None, None
    request.instance = instance
    request.state, request._status_code, request.status_message = "active", "fulfilled", ""
    request.add_tags(_tags(told, "spot-instances-request"))
    instance.spot_instance_request_id = request.id
    instance.ec2_backend.spot_instance_requests[request.id] = request


def close_requests(instances: Instances, account: str, backend: Any) -> None:
    """Close the requests whose instances are gone, as AWS does with those that are made once."""
    for request in backend.spot_instance_requests.values():
        record = instances.records.get(request.instance.id)
        if record and record.phase in ("ending", "gone") and request.state == "active":
            taken = request.instance.state_reason.code == "Server.SpotInstanceTermination"
            request._status_code = "instance-terminated-no-capacity" if taken else "instance-terminated-by-user"
            request.state = "closed"


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
