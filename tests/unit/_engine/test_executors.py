"""Which executor a job gets, and that there is one of each."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import DEFAULT
from dstack_core.models import ArtifactSpec, JobSpec


def test_attempts_that_start_side_by_side_share_one_executor():
    together = threading.Barrier(3)
    second = threading.Event()

    def make(name, settings):
        if not made:
            made.append(name)
            second.wait(0.2)  # until somebody else makes one, which nobody should
        else:
            made.append(name)
            second.set()
        return object()

    made: list[str] = []
    executor = Executors(SimpleNamespace(executor=make), DEFAULT).get
    got = []

    def ask(name):
        together.wait()
        got.append(executor(name))

    threads = [threading.Thread(target=ask, args=(name,)) for name in (None, None, DEFAULT.executor)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [DEFAULT.executor]
    assert len(set(map(id, got))) == 1


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, DEFAULT.executor),
        ({"image": "debian"}, DEFAULT.container_executor),
        ({"artifacts": (ArtifactSpec("data"), ArtifactSpec("/opt/env"))}, DEFAULT.container_executor),
        ({"executor": "own"}, "own"),
        ({"executor": "own", "image": "debian"}, "own"),
    ],
)
def test_what_needs_a_container_gets_one(spec, name):
    executors = Executors(SimpleNamespace(), DEFAULT)
    assert executors.name_for(JobSpec(("true",), **spec)) == name


def test_inputs_may_need_a_container():
    executors = Executors(SimpleNamespace(), DEFAULT)
    assert executors.name_for(JobSpec(("true",)), contained=True) == DEFAULT.container_executor
    assert executors.name_for(JobSpec(("true",), executor="own"), contained=True) == "own"
