"""Plugin `process`: jobs as local processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, Settings, hookimpl

if TYPE_CHECKING:
    from dstack_core.executor import Executor


def _executor() -> Callable[[Settings], Executor]:
    from dstack_local.process import ProcessExecutor

    return ProcessExecutor


@hookimpl
def dstack_executors() -> Sequence[Entry[Callable[[Settings], Executor]]]:
    """The executor `process`."""
    return [Entry("process", "A process with a folder and a Python environment of its own", _executor)]
