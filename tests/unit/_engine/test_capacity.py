"""Shares of a machine, and GPUs that belong to one job at a time across processes."""

import subprocess
import sys
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dstack_core._engine.capacity import Capacity
from dstack_core.models import Gpu, Offer, Requirements

MACHINE = Offer("local", "this machine", cpu=4, memory=16, gpu=Gpu(2, "Tesla V100-SXM2", 32))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path))


def test_shares_end_when_the_machine_is_full_and_come_back():
    capacity = Capacity(MACHINE)
    taken = [capacity.take(Requirements()) for _ in range(4)]
    assert all(taken)
    assert capacity.take(Requirements()) is None
    capacity.give_back(taken[0])
    assert capacity.take(Requirements(cpu=0.5)) is not None


def test_a_job_larger_than_one_cpu_waits_for_room():
    capacity = Capacity(MACHINE)
    share = capacity.take(Requirements(cpu=3, memory=10))
    assert capacity.take(Requirements(cpu=2)) is None
    assert capacity.take(Requirements(memory=7)) is None
    capacity.give_back(share)
    assert capacity.take(Requirements(cpu=2, memory=7)) is not None


@settings(deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=8), st.randoms())
@example([600, 200], Random(0))
def test_whatever_came_back_the_whole_machine_is_free_again(thousandths, random):
    capacity = Capacity(MACHINE)
    held = [share for n in thousandths if (share := capacity.take(Requirements(cpu=n / 1000)))]
    random.shuffle(held)
    for share in held:
        capacity.give_back(share)
    assert capacity.take(Requirements(cpu=4)) is not None


def test_tenths_fill_a_machine():
    capacity = Capacity(Offer("local", "this machine", cpu=0.3, memory=0))
    assert [capacity.take(Requirements(cpu=0.1)) is not None for _ in range(4)] == [True] * 3 + [False]


def test_a_gpu_belongs_to_one_job():
    capacity = Capacity(MACHINE)
    first, second = capacity.take(Requirements(gpu=Gpu(1))), capacity.take(Requirements(gpu=Gpu(1)))
    assert {first.gpus, second.gpus} == {(0,), (1,)}
    assert capacity.take(Requirements(gpu=Gpu(1))) is None
    capacity.give_back(first)
    assert capacity.take(Requirements(gpu=Gpu(1))).gpus == first.gpus


def test_gpus_have_the_indices_that_the_offer_says():
    capacity = Capacity(Offer("local", "this machine", cpu=4, memory=16, gpu=Gpu(2, "A100", 40, (1, 3))))
    assert capacity.take(Requirements(gpu=Gpu(3))) is None
    assert [capacity.take(Requirements(gpu=Gpu(1))).gpus for _ in range(2)] == [(1,), (3,)]


def test_a_job_that_asks_for_no_gpu_is_told_none():
    assert Capacity(MACHINE).take(Requirements()).gpus is None


def test_a_gpu_of_another_process_is_not_free_until_that_process_dies(tmp_path):
    code = (
        "from dstack_core._engine.capacity import Capacity\n"
        "from dstack_core.models import *\n"
        "share = Capacity(Offer('local', 'm', 4, 16, Gpu(2))).take(Requirements(gpu=Gpu(1)))\n"
        "print(share.gpus, flush=True)\n"
        "input()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"(0,)\n"
    capacity = Capacity(MACHINE)
    assert capacity.take(Requirements(gpu=Gpu(2))) is None
    only = capacity.take(Requirements(gpu=Gpu(1)))
    assert only.gpus == (1,)
    capacity.give_back(only)
    other.kill()
    other.communicate()
    assert capacity.take(Requirements(gpu=Gpu(2))).gpus == (0, 1)
