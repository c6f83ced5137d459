"""What EC2 offers for a job: types, in zones, on demand and spot, with prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dstack_aws.ec2_prices import Prices
from dstack_aws.ec2_quotas import quota_of, too_small
from dstack_aws.ec2_region import Region
from dstack_aws.ec2_shapes import Shape, shapes
from dstack_core.backend import Offers
from dstack_core.cloud.choice import TOLD, choose
from dstack_core.matching import satisfies
from dstack_core.models import Offer, Requirements

BACKEND = "ec2"


class Market:
    """All that is offered.

    Args:
        types, zones: the only ones to use; empty: all.
        disk: bytes of a machine's disk, unless a job asks for more.
    """

    def __init__(self, prices: Prices, types: Sequence[str], zones: Sequence[str], disk: int) -> None:
        self._prices = prices
        self._types = types
        self._zones = zones
        self._disk = disk

    def offers(self, regions: Sequence[Region], wanted: Requirements) -> Offers:
        """See `Backend.offers`. Raises StoreError."""
        # /dev/shm is memory.
        wanted = replace(wanted, memory=max(wanted.memory or 0, wanted.shm_size or 0) or None)
        candidates: list[Offer] = []
        refused: dict[str, str] = {}
        unfit: dict[str, str] = {}
        for region in regions:
            spot = self._prices.spot(region) if wanted.interruptible else {}
            for shape in self._shapes(region):
                if shape.unfit:
                    unfit[shape.name] = f"{shape.name}: {shape.unfit}"
                    continue
                found = list(self._of(region, shape, wanted, spot.get(shape.name, {})))
                would_do = _would_do(shape, wanted)
                if not found and would_do:
                    hint = f"dstack config set settings.ec2.prices '{{{shape.name}: USD}}'"
                    refused[shape.name] = f"{shape.name}: no price is known; {hint}"
                # Only of what would do anyway is the quota asked for.
                allowed, reason = _within_quotas(region, shape, found) if would_do else (found, None)
                if reason and not any(satisfies(offer, wanted) for offer in allowed):
                    refused[shape.name] = f"{shape.name}: {reason}"
                candidates += allowed
        chosen = choose(candidates, wanted)
        taken = {offer.name for offer in chosen.fitting}
        # There are hundreds of them: told of are those that somebody named, or if there is nothing else to tell.
        refused |= {name: unfit[name] for name in wanted.instance_types or self._types if name in unfit}
        rejected = [*chosen.rejected, *[told for name, told in refused.items() if name not in taken][:TOLD]]
        if not chosen.fitting and not rejected:
            rejected = [*unfit.values()][:TOLD] or [
                f"{' and '.join(one.name for one in regions)}: no such machine type in the zones to use"
            ]
        return Offers(chosen.fitting, rejected)

    def _shapes(self, region: Region) -> Iterator[Shape]:
        """Those of the region, with the zones to use only."""
        for shape in shapes(region, self._types):
            zones = tuple(zone for zone in shape.zones if not self._zones or zone in self._zones)
            if zones:
                yield replace(shape, zones=zones)

    def _of(self, region: Region, shape: Shape, wanted: Requirements, spot: Mapping[str, float]) -> Iterator[Offer]:
        disk = max(self._disk, wanted.disk or 0)
        extra = self._prices.disk(disk, region.name)
        price = self._prices.on_demand(shape.name, region)
        for zone in shape.zones:
            offer = replace(_offer(shape), region=region.name, zone=zone, disk=disk)
            if price is not None:
                yield replace(offer, price=round(price + extra, 6))
            if zone in spot and shape.spot:
                yield replace(offer, price=round(spot[zone] + extra, 6), spot=True)


def _within_quotas(region: Region, shape: Shape, found: Sequence[Offer]) -> tuple[list[Offer], str | None]:
    """Those offers that no quota rules out, and why it rules out the others."""
    allowed, reason = [], None
    for spot in sorted({offer.spot for offer in found}):
        quota = quota_of(region, shape, spot=spot)
        if quota is not None and shape.cpu > quota.limit:
            reason = reason or too_small(region, shape, quota)
        else:
            allowed += [offer for offer in found if offer.spot == spot]
    return allowed, reason


def _would_do(shape: Shape, wanted: Requirements) -> bool:
    """Whatever it costs."""
    named = not wanted.instance_types or shape.name in wanted.instance_types
    return named and satisfies(_offer(shape), wanted)


def _offer(shape: Shape) -> Offer:
    return Offer(BACKEND, shape.name, shape.cpu, shape.memory, shape.gpu)
