"""Whether a machine would do for a job."""

import pytest

from dstack_core.matching import in_words, satisfies
from dstack_core.models import Gpu, Offer, Requirements

MACHINE = Offer("local", "this machine", cpu=4, memory=16, gpu=Gpu(2, "Tesla V100-SXM2-32GB", 32 << 30))
T4 = Offer("local", "this machine", cpu=4, memory=16, gpu=Gpu(1, "Tesla T4", 15360 << 20))


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Requirements(), True),
        (Requirements(cpu=4, memory=16), True),
        (Requirements(cpu=5), False),
        (Requirements(memory=17), False),
        (Requirements(gpu=Gpu(2, "v100", 32 << 30)), True),
        (Requirements(gpu=Gpu(1, "V100-SXM2")), True),
        (Requirements(gpu=Gpu(3)), False),
        (Requirements(gpu=Gpu(1, "A100")), False),
        (Requirements(gpu=Gpu(1, "V10")), False),
        (Requirements(gpu=Gpu(1, "100")), False),
        (Requirements(gpu=Gpu(1, memory=36 << 30)), False),
        (Requirements(gpu=Gpu(0, "A100")), True),
    ],
)
def test_whether_the_machine_would_do(wanted, fits):
    assert satisfies(MACHINE, wanted) is fits


def test_a_card_has_the_memory_that_is_printed_on_its_box():
    assert satisfies(T4, Requirements(gpu=Gpu(1, memory=16 << 30)))
    assert not satisfies(T4, Requirements(gpu=Gpu(1, memory=24 << 30)))


def test_a_machine_without_gpus_has_none():
    bare = Offer("local", "this machine", cpu=4, memory=16)
    assert not satisfies(bare, Requirements(gpu=Gpu(1)))
    assert satisfies(bare, Requirements(gpu=Gpu(0)))


@pytest.mark.parametrize(
    ("size", "like", "text"),
    [
        (16 * 10**9, None, "16 GB"),
        (16 << 30, None, "16 GiB"),
        (512 << 20, None, "512 MiB"),
        (25_276_000_000, 16 * 10**9, "25.28 GB"),
        (25_276_000_000, 16 << 30, "23.54 GiB"),
        (25_276_000_123, None, "25.28 GB"),
        (10**18, None, "1e+06 TB"),
        (17, None, "17 B"),
    ],
)
def test_sizes_are_told_in_the_unit_that_was_asked_in(size, like, text):
    assert in_words(size, like) == text
