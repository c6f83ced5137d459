"""A backend for tests of core: its machines are instances of the emulated AWS, asked for without ceremony.

Installed as a distribution of its own by `elsewhere.py`, here and by its bundle on the machines. It reads nothing but
these variables, so that the store can have credentials of its own: BOX_ENDPOINT, BOX_KEY, BOX_SECRET, BOX_IMAGE.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import urllib.error
import urllib.request

from dstack_core.backend import Address, Backend, Offers
from dstack_core.cloud.boot import boot_script
from dstack_core.hookspecs import Entry, hookimpl
from dstack_core.matching import satisfies
from dstack_core.models import Offer

GONE = ("shutting-down", "terminated")
METADATA = "http://169.254.169.254/latest/"
SHAPES = (("t3.small", 2.0, 2 << 30, 0.02), ("r5.large", 2.0, 16 << 30, 0.13))
"""Name, CPUs, bytes of memory, dollars per hour."""


class BoxBackend(Backend):
    distant = True

    def __init__(self, settings):
        assert not settings

    @functools.cached_property
    def _ec2(self):
        import botocore.session

        return botocore.session.Session().create_client(
            "ec2", region_name="us-east-1", endpoint_url=os.environ["BOX_ENDPOINT"],
            aws_access_key_id=os.environ["BOX_KEY"], aws_secret_access_key=os.environ["BOX_SECRET"],
        )  # fmt: skip

    def offers(self, requirements):
        every = [
            Offer("box", name, cpu, memory, spot=spot, price=price / (3 if spot else 1))
            for name, cpu, memory, price in SHAPES
            for spot in (True, False)
        ]
        fitting = [offer for offer in every if satisfies(offer, requirements)]
        rejected = [f"{offer.name}: too small, or not what was asked for" for offer in every if offer not in fitting]
        return Offers(sorted(fitting, key=lambda offer: offer.price), rejected)

    def launch(self, offer, launch):
        tags = [{"Key": "box", "Value": launch.machine}, {"Key": "run", "Value": launch.run}]
        spot = {"InstanceMarketOptions": {"MarketType": "spot"}} if offer.spot else {}
        made = self._ec2.run_instances(
            ImageId=os.environ["BOX_IMAGE"], InstanceType=offer.name, MinCount=1, MaxCount=1,
            ClientToken=launch.machine, InstanceInitiatedShutdownBehavior="terminate", UserData=boot_script(launch),
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}], **spot,
        )  # fmt: skip
        return made["Instances"][0]["InstanceId"]

    def state(self, machine, handle):
        states = [instance["State"]["Name"] for instance in self._instances("tag:box", machine)]
        return "up" if any(state not in GONE for state in states) else "gone"

    def machines(self):
        found = self._instances("tag-key", "box")
        tags = [{tag["Key"]: tag["Value"] for tag in i["Tags"]} for i in found if i["State"]["Name"] not in GONE]
        return [of["box"] for of in tags]

    def terminate(self, machine, handle):
        for instance in self._instances("tag:box", machine):
            self._ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])

    @contextlib.contextmanager
    def reach(self, machine, handle, port):
        way = _tell("reach", instance=handle, port=port)
        try:
            yield Address(*way)
        finally:
            _tell("leave", host=way[0], port=way[1])

    def notice(self):
        header = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = _ask("api/token", header, "PUT")
        try:
            said = json.loads(_ask("meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}))
        except urllib.error.HTTPError:
            return None
        return datetime.datetime.fromisoformat(said["time"].replace("Z", "+00:00")).timestamp()

    def _instances(self, name, value):
        found = self._ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]


def _tell(verb, **arguments):
    address = f"{os.environ['BOX_ENDPOINT']}/_box/{verb}"
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(arguments).encode())) as answer:
        return json.load(answer)


def _ask(path, headers, method="GET"):
    request = urllib.request.Request(METADATA + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=1) as answer:
        return answer.read().decode()


def unneeded(distribution, path):
    """Of the SDK, what describes other services. What the store needs of it, it will say."""
    service = path.removeprefix("botocore/data/").partition("/")
    return distribution == "botocore" and path.startswith("botocore/data/") and service[0] != "ec2" and bool(service[1])


@hookimpl
def dstack_backends():
    return [Entry("box", "Machines of tests", lambda: BoxBackend, unneeded=unneeded)]
