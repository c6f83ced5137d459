"""Sizes and durations as people write them, in workflow files and in settings."""

from __future__ import annotations

import re
from typing import Final

from dstack_core.errors import InputError

_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(?:([KMGT])(I?)B?|B)", re.IGNORECASE | re.ASCII)
_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*([smhdw])\s*", re.IGNORECASE | re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_MAX_SIZE: Final = 1 << 60
_MAX_SECONDS: Final = 10 * 366 * 86400


def parse_size(text: str) -> int:
    """Bytes from `16GB`, `16G` (powers of 1000), `512MiB`, `512Mi` (powers of 1024), `0.5TB`, `1024B`.

    Raises:
        InputError: not a size, without a unit, not above zero, or beyond 1 EiB.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        if re.fullmatch(r"[\d.]+", text.strip(), re.ASCII):
            raise InputError(f"`{text}` has no unit", hint=f"write `{text.strip()}GB` or `{text.strip()}MB`")
        raise InputError(f"`{_short(text)}` is not a size", hint="write it like `16GB`, `512MB` or `2GiB`")
    number, unit, binary = found[1], (found[2] or "").upper(), bool(found[3])
    size = round(float(number) * float(1024 if binary else 1000) ** _POWERS[unit])
    if not 0 < size <= _MAX_SIZE:
        raise InputError(f"`{text}` is not a size that a machine can have", hint="write it like `16GB`")
    return size


def parse_duration(text: str) -> float:
    """Seconds from `90` (seconds), `30s`, `5m`, `2h`, `1d`, `1w`, or a sum such as `1h30m`.

    Raises:
        InputError: not a duration, not above zero, or beyond ten years.
    """
    stripped = text.strip()
    parts = _PART.findall(stripped)
    if re.fullmatch(r"\d{1,12}(\.\d{1,12})?", stripped, re.ASCII):
        seconds = float(stripped)
    elif parts and _PART.sub("", stripped) == "":
        seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    else:
        raise InputError(f"`{_short(text)}` is not a duration", hint="write it like `30s`, `5m`, `2h`, `1d`, `1h30m`")
    if not 0 < seconds <= _MAX_SECONDS:
        raise InputError(f"`{text}` must be above zero and below ten years", hint="write it like `2h`")
    return seconds


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
