"""Published list prices of EC2 machines on demand: Linux, shared tenancy, USD per hour, per second billed.

Used where neither the settings nor AWS's price list says more. How exact it is:

- us-east-1: the prices that AWS published for it as of 2026-01-19 (https://aws.amazon.com/ec2/pricing/on-demand/).
- us-east-2, us-west-2: taken to be the same, as AWS has priced these families alike in the three regions.
- Other regions of `FACTORS`: an estimate, namely the price in us-east-1 times what an m5.large costs there against
  us-east-1. Families differ; it is off by some percent, for some GPUs by more.
- Regions and types that are not named here have no price, and are not offered on demand without one in the settings.

What an account really pays (discounts, savings plans, taxes, credits of burstable machines) is not in it.
"""

from __future__ import annotations

from typing import Final

DATE: Final = "2026-01-19"

LARGE: Final = {
    "c5": 0.085, "c5a": 0.077, "c5ad": 0.086, "c5d": 0.096, "c5n": 0.108, "c6a": 0.0765, "c6i": 0.085, "c6id": 0.1008,
    "c6in": 0.1134, "c7a": 0.10264, "c7i": 0.08925, "c7i-flex": 0.08479, "c8a": 0.10777, "c8i": 0.09371,
    "c8i-flex": 0.08902, "m5": 0.096, "m5a": 0.086, "m5ad": 0.103, "m5d": 0.113, "m5n": 0.119, "m6a": 0.0864,
    "m6i": 0.096, "m6id": 0.11865, "m6in": 0.13923, "m7a": 0.11592, "m7i": 0.1008, "m7i-flex": 0.09576, "m8a": 0.12172,
    "m8i": 0.10584, "m8i-flex": 0.10055, "r5": 0.126, "r5a": 0.113, "r5ad": 0.131, "r5b": 0.149, "r5d": 0.144,
    "r5n": 0.149, "r6a": 0.1134, "r6i": 0.126, "r6id": 0.1512, "r6in": 0.17433, "r7a": 0.15215, "r7i": 0.1323,
    "r7iz": 0.186, "r8a": 0.15976, "r8i": 0.13892, "r8i-flex": 0.13197, "t3": 0.0832, "t3a": 0.0752,
}  # fmt: skip
"""Of families whose prices grow with their size: that of the size `large`."""

SIZES: Final = {
    "nano": 1 / 16, "micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1, "xlarge": 2, "2xlarge": 4,
    "4xlarge": 8, "8xlarge": 16, "9xlarge": 18, "12xlarge": 24, "16xlarge": 32, "18xlarge": 36, "24xlarge": 48,
    "32xlarge": 64, "48xlarge": 96, "96xlarge": 192,
}  # fmt: skip
"""How many times `large` a size costs."""

SINGLE: Final = {
    "g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g4dn.4xlarge": 1.204, "g4dn.8xlarge": 2.176, "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g5.4xlarge": 1.624, "g5.8xlarge": 2.448, "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096, "g5.24xlarge": 8.144, "g5.48xlarge": 16.288,
    "g6.xlarge": 0.8048, "g6.2xlarge": 0.9776, "g6.4xlarge": 1.3232, "g6.8xlarge": 2.0144, "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968, "g6.24xlarge": 6.6752, "g6.48xlarge": 13.3504, "gr6.4xlarge": 1.5392, "gr6.8xlarge": 2.4464,
    "g6e.xlarge": 1.861, "g6e.2xlarge": 2.24208, "g6e.4xlarge": 3.00424, "g6e.8xlarge": 4.52856,
    "g6e.12xlarge": 10.49264, "g6e.16xlarge": 7.57719, "g6e.24xlarge": 15.06559, "g6e.48xlarge": 30.13118,
    "p3.2xlarge": 3.06, "p3.8xlarge": 12.24, "p3.16xlarge": 24.48, "p3dn.24xlarge": 31.212,
    "p4d.24xlarge": 21.957642, "p4de.24xlarge": 27.44705, "p5.4xlarge": 6.88, "p5.48xlarge": 55.04,
    "p5en.48xlarge": 63.296, "p6-b200.48xlarge": 113.9328,
}  # fmt: skip
"""Of types with GPUs, which follow no rule."""

FACTORS: Final = {
    "us-east-1": 1.0, "us-east-2": 1.0, "us-west-2": 1.0, "us-west-1": 1.167, "ca-central-1": 1.115,
    "eu-west-1": 1.115, "eu-west-2": 1.156, "eu-west-3": 1.167, "eu-central-1": 1.198, "eu-north-1": 1.063,
    "eu-south-1": 1.167,
}  # fmt: skip
"""How many times the price in us-east-1 a region takes."""


def list_price(name: str, region: str) -> float | None:
    """USD per hour of a type in a region, as far as the table goes."""
    factor = FACTORS.get(region)
    family, _, size = name.partition(".")
    price = SINGLE.get(name)
    if price is None and family in LARGE and size in SIZES:
        price = LARGE[family] * SIZES[size]
    return None if factor is None or price is None else round(price * factor, 6)
