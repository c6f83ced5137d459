"""Which of the machines that a cloud has would do for a job: the cheapest first, and in words why the others do not.

A backend lists what it has as offers, one for each type, place and way to pay, in the order in which it likes to take
those of one price. `dstack_core.matching` says what fits; this says what is best, and what to tell of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dstack_core.backend import Offers
from dstack_core.matching import in_words, satisfies, suits
from dstack_core.models import Gpu, Offer, Requirements

ALTERNATIVES: Final = 5
"""Types of a region that are tried, each in all its places, before a launch is given up: a cloud with hundreds of types
would otherwise be asked for hours."""
TOLD: Final = 6
"""Types whose rejection is told one by one; the rest is counted."""


def choose(candidates: Iterable[Offer], wanted: Requirements) -> Offers:
    """The offers that satisfy `wanted`, cheapest first, and why others do not, nearest first."""
    fitting: list[Offer] = []
    rejected: dict[str, tuple[Offer, list[str]]] = {}
    for offer in candidates:
        if satisfies(offer, wanted):
            fitting.append(offer)
            continue
        reasons = lacks(offer, wanted)
        known = rejected.get(offer.name)
        if known is None or len(reasons) < len(known[1]):
            rejected[offer.name] = (offer, reasons)
    for offer in fitting:
        rejected.pop(offer.name, None)
    fitting.sort(key=lambda offer: offer.price)
    return Offers(_few(fitting), _told(rejected.values()))


def lacks(offer: Offer, wanted: Requirements) -> list[str]:
    """Why the offer does not satisfy, in words; nothing if, and only if, it does."""
    found = []
    if (wanted.cpu or 0) > offer.cpu:
        found.append(f"has {offer.cpu:g} cpu, needs {wanted.cpu:g}")
    if (wanted.memory or 0) > offer.memory:
        found.append(f"has {in_words(offer.memory, wanted.memory)} of memory, needs {in_words(wanted.memory or 0)}")
    if wanted.gpu is not None and not suits(offer.gpu, wanted.gpu):
        found.append(f"has {_gpus(offer.gpu)}, needs {_gpus(wanted.gpu)}")
    if offer.disk is not None and (wanted.disk or 0) > offer.disk:
        found.append(f"has {in_words(offer.disk, wanted.disk)} of disk, needs {in_words(wanted.disk or 0)}")
    if offer.spot and not wanted.interruptible:
        found.append("is interruptible")
    if wanted.max_price is not None and offer.price > wanted.max_price:
        found.append(f"costs {offer.price:.4g} USD per hour, max_price is {wanted.max_price:g}")
    if wanted.instance_types and offer.price != 0 and offer.name not in wanted.instance_types:
        found.append("is not among instance_types")
    return found


def _few(fitting: Iterable[Offer]) -> list[Offer]:
    """Of each region, and each way to pay, those of the first few types."""
    types: dict[tuple[str | None, bool], list[str]] = {}
    kept = []
    for offer in fitting:
        names = types.setdefault((offer.region, offer.spot), [])
        if offer.name not in names and len(names) < ALTERNATIVES:
            names.append(offer.name)
        if offer.name in names:
            kept.append(offer)
    return kept


def _told(rejected: Iterable[tuple[Offer, list[str]]]) -> list[str]:
    nearest = sorted(rejected, key=lambda one: (len(one[1]), one[0].price))
    told = [f"{offer.name}: {'; '.join(reasons)}" for offer, reasons in nearest[:TOLD]]
    more = len(nearest) - TOLD
    return [*told, f"{more} more: they lack as much, or more"] if more > 0 else told


def _gpus(gpu: Gpu | None) -> str:
    if gpu is None:
        return "no gpu"
    named = f"{gpu.count} gpu{f' {gpu.name}' if gpu.name else ''}"
    return named if gpu.memory is None else f"{named} with {in_words(gpu.memory)}"
