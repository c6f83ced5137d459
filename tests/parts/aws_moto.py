"""The places where moto itself has to be mended, in one process, for as long as it runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from aws_instances import Instances
from aws_spot import Market, open_request
from cloud_events import Call
from moto.core.base_backend import BackendDict
from moto.core.common_models import BaseModel
from moto.core.responses import ActionResult
from moto.ec2 import utils
from moto.ec2.models import EC2Backend
from moto.ec2.responses.spot_instances import SpotInstances
from moto.s3.models import s3_backends

_current = threading.local()


@contextlib.contextmanager
def during(call: Call) -> Iterator[None]:
    """The call that moto is at work on, for what it does not hand down."""
    _current.call = call
    try:
        yield
    finally:
        _current.call = None


def mend(instances: Instances, market: Market) -> None:
    """Instances start pending and have spot requests; prices differ; two more filters are known. moto lists all that it
    ever made, so that nothing is freed, the content of objects least of all: not here."""
    BaseModel.__new__ = staticmethod(lambda model, *_, **__: object.__new__(model))  # type: ignore[method-assign]
    utils.filter_dict_attribute_mapping["client-token"] = "client_token"
    utils.filter_dict_attribute_mapping["instance-lifecycle"] = "lifecycle"
    utils.filter_dict_attribute_mapping["spot-instance-request-id"] = "spot_instance_request_id"
    original = EC2Backend.run_instances

    def run_instances(self: Any, *words: Any, **options: Any) -> Any:
        reservation = original(self, *words, **options)
        for instance in reservation.instances:
            instance.spot_instance_request_id = None  # type: ignore[attr-defined]  # moto answers with what is there
            instances.adopt(instance)
            if instance.lifecycle == "spot" and options.get("instance_market_options"):
                open_request(instance, getattr(_current, "call", None))
        return reservation

    def describe_spot_price_history(self: Any) -> ActionResult:
        filters = {k: v for k, v in self._filters_from_querystring().items() if k != "product-description"}
        if zone := self._get_param("AvailabilityZone"):
            filters["availability-zone"] = [zone]
        found = self.ec2_backend.describe_spot_price_history(self._get_param("InstanceTypes", []), filters)
        page, following = market.history(self.current_account, found, int(self._get_param("NextToken") or 0))
        return ActionResult({"SpotPriceHistory": page, "NextToken": following})

    EC2Backend.run_instances = run_instances  # type: ignore[method-assign]
    SpotInstances.describe_spot_price_history = describe_spot_price_history  # type: ignore[method-assign]


def forget(account: str) -> None:
    """Free what an account had, but for its instances: their machines may still be about to end."""
    for backend in list(s3_backends[account].values()):
        backend.reset()  # which closes the files of its objects
    for service in list(BackendDict._instances):
        if service.service_name != "ec2":
            service.pop(account, None)
