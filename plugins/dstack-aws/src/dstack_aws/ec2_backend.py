"""The backend `ec2`: machines of Amazon EC2.

Each carries the machine's id as a label from the call that makes it, and is looked for by that label always: a handle
only says where to look, and since when.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final

from dstack_aws import ec2_leftovers, ec2_notice
from dstack_aws.account import PATIENCE, Account
from dstack_aws.ec2_caller import ASK, caller
from dstack_aws.ec2_handle import Handle
from dstack_aws.ec2_images import PLAIN, WITH_GPU, find_image
from dstack_aws.ec2_launching import run_instance
from dstack_aws.ec2_network import find_place, zone_of
from dstack_aws.ec2_offers import Market
from dstack_aws.ec2_prices import GB, Prices
from dstack_aws.ec2_reach import Rules
from dstack_aws.ec2_region import Region, region_names
from dstack_aws.ec2_request import MACHINE, request, user
from dstack_core.backend import Address, Backend, Leftover, MachineState, Offers
from dstack_core.errors import ReachError, StoreError
from dstack_core.models import Launch, Offer, Requirements

DISK: Final = 100
"""GB of a machine's disk, if neither a job nor the settings say more."""
STATES: Final[Mapping[str, MachineState]] = {"pending": "starting", "running": "up"}
"""Of instances. What is stopped does no work any more: it is gone, and to be terminated."""
OVER: Final = frozenset({"shutting-down", "terminated"})
METADATA_PATIENCE: Final = {"AWS_METADATA_SERVICE_TIMEOUT": "5", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "5"}
"""The SDK asks a machine's metadata service for credentials once, for a second, and then says that there are none
(https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html). A busy machine is slower."""


class Ec2Backend(Backend):
    """Machines of EC2. The settings are those of `dstack_aws.settings.Ec2Settings`."""

    distant: ClassVar[bool] = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._account = account_of(settings)
        self._patience = float(settings.get("patience", PATIENCE))
        self._open: dict[str, Region] = {}
        self._rules = Rules()

    def offers(self, requirements: Requirements) -> Offers:
        """See `Backend.offers`. Lists of types and prices are those of the last hour.

        Raises:
            InputError: a region or subnet of the settings does not exist.
            StoreError: AWS cannot be asked.
        """
        return self._market().offers(self._regions(), requirements)

    def launch(self, offer: Offer, launch: Launch) -> str:
        """See `Backend.launch`.

        Raises:
            CapacityError: EC2 has no such machine now, or the account's quota is used up.
            InputError: an image, group, profile or subnet of the settings does not exist.
            StoreError: AWS cannot be asked.
        """
        region = self._region(offer.region or self._regions()[0].name)
        setting, otherwise = ("gpu_ami", WITH_GPU) if offer.gpu else ("ami", PLAIN)
        image = find_image(region, str(self._settings.get(setting) or otherwise), setting)
        place = find_place(region, self._settings)
        launch = replace(launch, env={**self._environment(region.name), **launch.env})
        instance = run_instance(region, offer, request(offer, launch, image, place))
        return str(Handle(region.name, instance or self._found(region, launch.machine), time.time()))

    def state(self, machine: str, handle: str | None) -> MachineState:
        """See `Backend.state`. Unknown when AWS cannot be asked."""
        known = Handle.parse(handle)
        try:
            found = [one["State"]["Name"] for region in self._where(known) for one in _instances(region, machine)]
        except StoreError:
            return "unknown"
        for state in found:
            if state in STATES:
                return STATES[state]
        return "starting" if known and known.is_new and not found else "gone"

    def machines(self) -> Sequence[str]:
        """See `Backend.machines`: those in the regions of the settings. Raises StoreError."""
        found = (one for region in self._regions() for one in _instances(region, None))
        return sorted({_label(one) for one in found if one["State"]["Name"] not in OVER})

    def terminate(self, machine: str, handle: str | None) -> None:
        """See `Backend.terminate`. Disks and spot requests end with their instance. Raises StoreError."""
        known = Handle.parse(handle)
        for region in self._where(known):
            found = _instances(region, machine)
            while known and known.is_new and not found:
                time.sleep(1)  # who is not to be seen yet cannot be ended yet
                found = _instances(region, machine)
            ids = [one["InstanceId"] for one in found if one["State"]["Name"] not in OVER]
            ec2_leftovers.terminate(region, ids)

    def notice(self) -> float | None:
        """See `SupportsNotice.notice`: spot machines are told two minutes before they are taken."""
        return ec2_notice.interruption()

    @contextmanager
    def reach(self, machine: str, handle: str | None, port: int) -> Iterator[Address]:
        """See `SupportsReach.reach`: a rule of the machine's security group lets this computer's address in.

        Raises:
            ReachError: it has no address, is not there, or nobody says which address this computer has.
            StoreError: AWS cannot be asked.
        """
        private = self._settings.get("ssh_to") == "private"
        source = caller(str(self._settings.get("ssh_from") or ASK))
        for region in self._where(Handle.parse(handle)):
            for instance in _instances(region, machine):
                if instance["State"]["Name"] in STATES:
                    with self._rules.way(region, instance, port, source, private=private) as address:
                        yield address
                    return
        raise ReachError("the machine is not there any more", hint="dstack ps")

    def leftovers(self) -> Sequence[Leftover]:
        """See `SupportsLeftovers.leftovers`. Raises StoreError."""
        prices = self._prices()
        return [one for region in self._regions() for one in ec2_leftovers.find(region, prices)]

    def end(self, leftover: Leftover) -> None:
        """See `SupportsLeftovers.end`. Raises StoreError."""
        ec2_leftovers.end(self._region(leftover.region), leftover)

    def policies(self, remote: str) -> Mapping[str, Any]:
        """See `SupportsPolicies.policies`. Raises InputError for settings that are wrong."""
        from dstack_aws.policies import MAKERS
        from dstack_aws.policy_scope import scope_of

        scope = scope_of(remote)
        return {who: make(scope) for who, make in MAKERS.items()}

    def _region(self, name: str) -> Region:
        return self._open.setdefault(name, Region(self._account, name, self._patience))

    def _regions(self) -> list[Region]:
        return [self._region(name) for name in region_names(self._account, self._settings.get("regions") or ())]

    def _where(self, handle: Handle | None) -> Iterable[Region]:
        return [self._region(handle.region)] if handle else self._regions()

    def _market(self) -> Market:
        zones = self._settings.get("zones") or ()
        if self._settings.get("subnet"):
            zones = (zone_of(self._regions()[0], str(self._settings["subnet"])),)
        types = tuple(self._settings.get("instance_types") or ())
        return Market(self._prices(), types, zones, int(self._settings.get("disk") or DISK) * GB)

    def _prices(self) -> Prices:
        return Prices(self._settings.get("prices") or {}, self._settings.get("disk_price"))

    def _environment(self, region: str) -> dict[str, str]:
        """What the machine knows of us: where what names no region is, and who is meant by its labels."""
        region = self._account.default_region() or region
        return {"AWS_DEFAULT_REGION": region, "DSTACK_USER": user(), **METADATA_PATIENCE}

    def _found(self, region: Region, machine: str) -> str:
        return next((str(one["InstanceId"]) for one in _instances(region, machine)), "")


def account_of(settings: Mapping[str, Any]) -> Account:
    """Whose machines the settings are about."""
    return replace(Account.of("ec2", settings), region_setting="regions")


def _instances(region: Region, machine: str | None) -> list[dict[str, Any]]:
    """Those of ours, the ended ones of the last hour included; of one machine, or of all."""
    named = {"Name": "tag-key", "Values": [MACHINE]}
    if machine is not None:
        named = {"Name": f"tag:{MACHINE}", "Values": [_literal(machine)]}
    listed = region.pages("look for machines", "describe_instances", "Reservations", Filters=[named])
    return [one for reservation in listed for one in reservation["Instances"]
            if machine is None or _label(one) == machine]  # fmt: skip


def _literal(text: str) -> str:
    """A filter's value that matches this text only."""
    return "".join(f"\\{c}" if c in "*?\\" else c for c in text)


def _label(instance: Mapping[str, Any]) -> str:
    return next((str(tag["Value"]) for tag in instance.get("Tags", ()) if tag["Key"] == MACHINE), "")
