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


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))
