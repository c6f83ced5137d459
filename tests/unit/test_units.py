"""Sizes and durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core.errors import InputError
from dstack_core.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GB", 16_000_000_000),
        ("16G", 16_000_000_000),
        ("512MB", 512_000_000),
        ("1GiB", 1 << 30),
        ("1Gi", 1 << 30),
        ("512MiB", 512 << 20),
        ("1.5GB", 1_500_000_000),
        (" 2 gb ", 2_000_000_000),
        ("1TB", 10**12),
        ("1024B", 1024),
        ("4KiB", 4096),
        ("0.5gib", 1 << 29),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GB",
        "0GB",
        "-1GB",
        "1e9GB",
        "16 GB RAM",
        "1.2.3GB",
        "16PB",
        "\uff19GB",
        "9" * 99 + "GB",
        "999999999TB",
        "1B2",
    ],
)
def test_no_sizes(text):
    with pytest.raises(InputError) as caught:
        parse_size(text)
    assert caught.value.hint


def test_a_size_without_a_unit_is_told_both():
    with pytest.raises(InputError) as caught:
        parse_size("16")
    assert (caught.value.message, caught.value.hint) == ("`16` has no unit", "write `16GB` or `16MB`")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("0.5H", 1800),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1h", "h", "1h30", "1y", "11.5.2h", "1 hour", "nan", "inf", "4000d", "\uff19m"]
)
def test_no_durations(text):
    with pytest.raises(InputError) as caught:
        parse_duration(text)
    assert caught.value.hint


@given(st.text(max_size=30))
def test_any_text_is_taken_or_refused(text):
    for parse in (parse_size, parse_duration):
        try:
            assert 0 < parse(text) < 1 << 61
        except InputError as error:
            assert len(error.message) < 120  # noqa: PT017
