"""What machines cost on demand in a region, as AWS's price list says: for whoever may ask it, once a day."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dstack_aws.ec2_region import Region, pages
from dstack_core.errors import StoreError

DAY: Final = 86400.0
PLAIN: Final = {
    "operatingSystem": "Linux", "preInstalledSw": "NA", "tenancy": "Shared", "capacitystatus": "Used",
    "marketoption": "OnDemand",
}  # fmt: skip
"""The machines that are meant: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html"""


def listed_prices(region: Region) -> Mapping[str, float]:
    """USD per hour by type, as of the last day; empty if AWS did not say, whatever the reason: there is the table."""
    found: Mapping[str, float] = region.remembered(("price list",), lambda: _ask(region), DAY)
    return found


def _ask(region: Region) -> dict[str, float]:
    wanted = {**PLAIN, "regionCode": region.name}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    asked = {"ServiceCode": "AmazonEC2", "FormatVersion": "aws_v1", "MaxResults": 100, "Filters": filters}
    try:
        items = list(pages(region.pricing, "list prices", "get_products", "PriceList", **asked))
    except StoreError:
        return {}
    return {name: price for item in items for name, price in _prices(json.loads(item))}


def _prices(item: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    name = item.get("product", {}).get("attributes", {}).get("instanceType")
    for term in item.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            price = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if name and price and dimension.get("unit") == "Hrs":
                yield name, price
