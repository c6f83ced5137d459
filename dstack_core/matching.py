"""Whether a machine would do for a job. Core and backends ask the same question here, so that they never disagree.

A backend that offered what `satisfies` refuses would start machines that find nothing to do.
"""

from __future__ import annotations

import re
from typing import Final

from dstack_core.models import Gpu, Offer, Requirements

SHORT: Final = 0.07
"""How much less memory a GPU may report than is asked for: a "16 GB" card keeps up to a GiB for itself."""


def satisfies(offer: Offer, wanted: Requirements) -> bool:
    """Whether the whole machine would do for one job. /dev/shm is the backend's to check: an offer does not tell."""
    return (
        (wanted.cpu or 0) <= offer.cpu
        and (wanted.memory or 0) <= offer.memory
        and (wanted.gpu is None or suits(offer.gpu, wanted.gpu))
        and (offer.disk is None or (wanted.disk or 0) <= offer.disk)
        and (wanted.interruptible or not offer.spot)
        and (wanted.max_price is None or offer.price <= wanted.max_price)
        and (not wanted.instance_types or offer.price == 0 or offer.name in wanted.instance_types)
    )


def suits(have: Gpu | None, wanted: Gpu) -> bool:
    """Whether GPUs of this kind, and so many, would do; nothing does when none is `wanted`."""
    return wanted.count == 0 or (have is not None and have.count >= wanted.count and is_kind(have, wanted))


def is_kind(have: Gpu, wanted: Gpu) -> bool:
    """Whether a GPU has the name and the memory that are `wanted`, however many there are.

    A name is whole words of the vendor's: `V100` is `Tesla V100-SXM2-16GB`, and `A10` is not `NVIDIA A100`.
    """
    named = not wanted.name or f" {_words(wanted.name)} " in f" {_words(have.name or '')} "
    return named and (have.memory or 0) >= (wanted.memory or 0) * (1 - SHORT)


def in_words(size: float, like: float | None = None) -> str:
    """`16 GB`, `16 GiB`, `1.5 TB`: bytes in the unit in which `like`, by default `size` itself, is a whole number.

    What a job asks for and what a machine has are then told in the unit in which the user asked.
    """
    whole = size if like is None else like
    binary = whole % 1000**2 != 0 and whole % 1024**2 == 0
    base = 1024 if binary else 1000
    for power, letter in ((4, "T"), (3, "G"), (2, "M")):
        if size >= base**power:
            return f"{size / base**power:.4g} {letter}{'i' if binary else ''}B"
    return f"{size:.0f} B"


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))
