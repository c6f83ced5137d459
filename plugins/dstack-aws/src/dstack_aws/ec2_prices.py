"""What machines of EC2 cost: spot prices from the account, on demand as published."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from dstack_aws.ec2_price_list import listed_prices
from dstack_aws.ec2_price_table import FACTORS, list_price
from dstack_aws.ec2_region import Region

DISK: Final = 0.08
"""USD for a GB of a gp3 disk and month, in us-east-1."""
MONTH: Final = 730.0
"""Hours of a month, as AWS counts them."""
GB: Final = 10**9


class Prices:
    """Prices in USD per hour.

    Args:
        own: by type, what it costs on demand in every region; it wins over the lists.
        disk: USD for a GB of a disk and month; None: as in the lists.
    """

    def __init__(self, own: Mapping[str, float], disk: float | None) -> None:
        self._own = own
        self._disk = disk
        self._listed: dict[str, Mapping[str, float]] = {}

    def on_demand(self, name: str, region: Region) -> float | None:
        """By the settings, else AWS's price list, else the table; None: nobody has said."""
        if name in self._own:
            return self._own[name]
        listed = self._listed.get(region.name)
        if listed is None:
            listed = self._listed[region.name] = listed_prices(region)
        return listed.get(name, list_price(name, region.name))

    def disk(self, size: int, region: str) -> float:
        """For a disk of `size` bytes."""
        per_month = DISK * FACTORS.get(region, 1.0) if self._disk is None else self._disk
        return size / GB * per_month / MONTH

    def spot(self, region: Region) -> Mapping[str, Mapping[str, float]]:
        """By type and zone, as of the last hour. Raises StoreError."""
        found: Mapping[str, Mapping[str, float]] = region.remembered(("spot",), lambda: _spot(region))
        return found


def _spot(region: Region) -> dict[str, dict[str, float]]:
    """What each costs now: a history that begins now has the last change of each price, newest first."""
    asked: dict[str, Any] = {"ProductDescriptions": ["Linux/UNIX"], "StartTime": time.time()}
    found: dict[str, dict[str, float]] = {}
    for one in region.pages("list spot prices", "describe_spot_price_history", "SpotPriceHistory", **asked):
        found.setdefault(one["InstanceType"], {}).setdefault(one["AvailabilityZone"], float(one["SpotPrice"]))
    return found
