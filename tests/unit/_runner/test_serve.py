"""What a runner is made of."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from dstack_core._engine.remote import DEFAULT
from dstack_core._runner.serve import _executors


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
    executor = _executors(SimpleNamespace(executor=make), DEFAULT)
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
