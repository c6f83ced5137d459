"""Whether a machine would do for a job."""

import pytest

from dstack_core.matching import satisfies
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
