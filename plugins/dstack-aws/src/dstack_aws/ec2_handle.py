"""How a launched machine of EC2 is known: where it is, and since when."""

from __future__ import annotations

import re
import time
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"([a-z]{2}[a-z0-9-]+)/(i-[0-9a-f]+)/(\d{1,12})")

SETTLED: Final = 120.0
"""Seconds until whoever asks for a new instance is told of it; EC2 promises no time, and takes seconds
(https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html)."""


class Handle(NamedTuple):
    """Attributes: `launched`: seconds since the epoch, by the clock of whoever launched it."""

    region: str
    instance: str
    launched: float

    def __str__(self) -> str:
        return f"{self.region}/{self.instance}/{self.launched:.0f}"

    @property
    def is_new(self) -> bool:
        """Whether EC2 may not tell of it yet."""
        return abs(time.time() - self.launched) < SETTLED

    @staticmethod
    def parse(text: str | None) -> Handle | None:
        """From its text; None if it is none: then a machine is looked for everywhere."""
        found = _FORM.fullmatch(text or "")
        return Handle(found[1], found[2], float(found[3])) if found else None
