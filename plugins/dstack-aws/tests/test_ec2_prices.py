"""Prices: published ones by a table, the user's own, and of disks."""

from __future__ import annotations

import pytest
from dstack_aws.ec2_price_table import FACTORS, LARGE, SINGLE, list_price
from dstack_aws.ec2_prices import GB, Prices


@pytest.mark.parametrize(
    ("name", "region", "price"),
    [
        ("t3.small", "us-east-1", 0.0208),
        ("m5.24xlarge", "us-east-2", 4.608),
        ("c7i-flex.2xlarge", "us-west-2", 0.33916),
        ("g5.xlarge", "us-east-1", 1.006),
        ("p5.48xlarge", "us-east-1", 55.04),
        ("m5.large", "eu-west-1", 0.107),
        ("m5.large", "eu-central-1", 0.115),
    ],
)
def test_published_prices(name, region, price):
    assert list_price(name, region) == pytest.approx(price, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "region"),
    [("m5.large", "mars-1"), ("zz9.large", "us-east-1"), ("m5.metal", "us-east-1"), ("m5", "us-east-1")],
)
def test_what_is_not_in_the_table_has_no_price(name, region):
    assert list_price(name, region) is None


def test_every_price_of_the_table_is_one():
    names = [*SINGLE, *(f"{family}.xlarge" for family in LARGE)]
    assert all(0.01 < (list_price(name, region) or 0) < 200 for name in names for region in FACTORS)


def test_what_a_disk_costs_may_be_set():
    assert Prices({}, 0.5).disk(730 * GB, "us-east-1") == pytest.approx(0.5)


def test_a_disk_costs_what_is_published():
    assert Prices({}, None).disk(730 * GB, "us-east-1") == pytest.approx(0.08)
    assert Prices({}, None).disk(730 * GB, "eu-central-1") > 0.09
