"""The cheapest machine that fits, what else may be tried, and why the others do not fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dstack_core.cloud.choice import ALTERNATIVES, TOLD, choose, lacks
from dstack_core.matching import satisfies
from dstack_core.models import Gpu, Offer, Requirements

GB = 10**9
GPUS = st.none() | st.builds(
    Gpu, st.integers(0, 3), st.sampled_from([None, "V100", "A10G"]), st.sampled_from([None, GB])
)
OFFERS = st.builds(
    Offer, st.just("cloud"), st.sampled_from("abc"), st.integers(1, 4), st.integers(1, 4), GPUS, st.booleans(),
    st.sampled_from(["east", "west"]), st.sampled_from([0.0, 0.5, 1.0, 2.0]), disk=st.none() | st.integers(1, 3),
)  # fmt: skip
WANTED = st.builds(
    Requirements, st.none() | st.integers(1, 4), st.none() | st.integers(1, 4), GPUS, st.none(), st.booleans(),
    st.none() | st.integers(1, 3), st.none() | st.sampled_from([0.5, 1.5]), st.sampled_from([(), ("a",), ("b", "c")]),
)  # fmt: skip


def offer(name: str, price: float = 1.0, region: str = "east", cpu: float = 4, **more: object) -> Offer:
    return Offer("cloud", name, cpu, 16 * GB, region=region, price=price, **more)  # type: ignore[arg-type]


@given(OFFERS, WANTED)
def test_an_offer_lacks_something_exactly_if_it_does_not_satisfy(candidate, wanted):
    assert (not lacks(candidate, wanted)) == satisfies(candidate, wanted)


@given(st.lists(OFFERS, max_size=12), WANTED)
def test_all_that_is_chosen_satisfies_and_is_in_order(candidates, wanted):
    found = choose(candidates, wanted)
    assert all(satisfies(one, wanted) for one in found.fitting)
    assert [one.price for one in found.fitting] == sorted(one.price for one in found.fitting)
    if any(satisfies(one, wanted) for one in candidates):
        assert found.fitting[0].price == min(one.price for one in candidates if satisfies(one, wanted))
    assert bool(found.fitting or found.rejected) == bool(candidates)
    assert all(": " in reason and "\n" not in reason for reason in found.rejected)


def test_offers_of_one_price_stay_in_their_order():
    zones = [offer("a", zone="1"), offer("a", zone="2"), offer("b", zone="1"), offer("c", 0.5)]
    assert [(one.name, one.zone) for one in choose(zones, Requirements()).fitting] == [
        ("c", None), ("a", "1"), ("a", "2"), ("b", "1"),
    ]  # fmt: skip


def test_of_each_region_and_way_to_pay_few_types_are_tried_in_all_their_zones():
    many = [
        offer(f"t{n}", n, region, spot=spot, zone=zone)
        for n in range(20) for region in ("east", "west") for spot in (True, False) for zone in "123"
    ]  # fmt: skip
    found = choose(many, Requirements(interruptible=True)).fitting
    assert len(found) == ALTERNATIVES * 2 * 2 * 3
    assert {one.name for one in found} == {f"t{n}" for n in range(ALTERNATIVES)}


def test_reasons_are_words_and_the_nearest_comes_first():
    wanted = Requirements(4, 64 * GB, Gpu(2, "V100", 16 * GB), disk=200 * GB, max_price=2)
    far = offer("far", 3.0, cpu=2, gpu=Gpu(1, "T4", 16 * GB), spot=True, disk=100 * GB)
    near = offer("near", 1.0, gpu=Gpu(2, "V100", 16 * GB), disk=200 * GB)
    first, second = choose([far, near], wanted).rejected
    assert first == "near: has 16 GB of memory, needs 64 GB"
    assert second == "far: " + "; ".join(
        ["has 2 cpu, needs 4", "has 16 GB of memory, needs 64 GB",
         "has 1 gpu T4 with 16 GB, needs 2 gpu V100 with 16 GB",
         "has 100 GB of disk, needs 200 GB", "is interruptible", "costs 3 USD per hour, max_price is 2"]
    )  # fmt: skip


def test_a_type_that_fits_somewhere_is_not_told_as_rejected():
    cheap, dear = offer("a", 1.0), offer("a", 9.0, "west")
    found = choose([dear, cheap, offer("b", 9.0)], Requirements(max_price=2))
    assert found.fitting == [cheap]
    assert found.rejected == ["b: costs 9 USD per hour, max_price is 2"]


def test_many_reasons_are_counted():
    found = choose([offer(f"t{n:03}") for n in range(50)], Requirements(cpu=64))
    assert len(found.rejected) == TOLD + 1
    assert found.rejected[-1] == f"{50 - TOLD} more: they lack as much, or more"
