"""How many vCPUs an account may have of which machines: for whoever may ask it, once an hour.

A machine that is larger than its quota cannot be had at all. What else of a quota is used changes by the minute, and is
not looked at here: EC2 says so when a machine is asked for (`ec2_launching`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from dstack_aws.ec2_region import Region, pages
from dstack_aws.ec2_shapes import Shape
from dstack_core.errors import StoreError

STANDARD: Final = ("L-1216C47A", "L-34B43A08")
FAMILIES: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), STANDARD),
    "f": ("L-74FC7D96", "L-88CF9481"),
    "g": ("L-DB2E81BA", "L-3819A6DF"),
    "gr": ("L-DB2E81BA", "L-3819A6DF"),
    "p": ("L-417A185B", "L-7212CCBC"),
    "x": ("L-7295265B", "L-E3A00192"),
}
"""By the letters that a type begins with: the codes of its quotas on demand and of spot. Others are not known here, and
do not count. Of https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html"""
NEW_P: Final = re.compile(r"p([5-9]|\d\d)")
NEW_P_SPOT: Final = "L-C4BD4855"
"""Spot machines of p5 and newer have a quota of their own."""


class Quota(NamedTuple):
    """How many vCPUs there may be, and the code of the quota that says so."""

    code: str
    limit: float


def quota_of(region: Region, shape: Shape, *, spot: bool) -> Quota | None:
    """The quota that machines of this type count towards; None if nobody has said."""
    letters = re.match(r"[a-z]*", shape.name)
    codes = FAMILIES.get(letters.group() if letters else "")
    if codes is None:
        return None
    code = NEW_P_SPOT if spot and NEW_P.match(shape.name) else codes[spot]
    limit = _quotas(region).get(code)
    return None if limit is None else Quota(code, limit)


def too_small(region: Region, shape: Shape, quota: Quota) -> str:
    """That a machine is larger than its quota, and what to do, in words."""
    ask = (
        f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {quota.code} "
        f"--desired-value {shape.cpu:g} --region {region.name}"
    )
    return (
        f"has {shape.cpu:g} vCPUs, and the account's quota of such machines in {region.name} is {quota.limit:g}; {ask}"
    )


def _quotas(region: Region) -> Mapping[str, float]:
    """By code; those of vCPUs among them. Empty if AWS did not say, whatever the reason."""
    found: Mapping[str, float] = region.remembered(("quotas",), lambda: _ask(region))
    return found


def _ask(region: Region) -> dict[str, float]:
    asked = {"ServiceCode": "ec2", "MaxResults": 100}
    act = "look at the account's quotas"
    wanted = {code for codes in FAMILIES.values() for code in codes} | {NEW_P_SPOT}
    try:
        listed = list(pages(region.quotas, act, "list_service_quotas", "Quotas", **asked))
    except StoreError as error:
        # Once an hour, since this, too, is remembered.
        logging.getLogger("dstack").warning(
            f"machines may be offered that the account's quotas in {region.name} do not allow: {error.message}"
        )
        return {}
    return {one["QuotaCode"]: float(one["Value"]) for one in listed if one.get("QuotaCode") in wanted}
