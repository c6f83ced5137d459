"""Plugin `notebook`: the provider of that name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, hookimpl

if TYPE_CHECKING:
    from dstack_core.provider import Provider


def _provider() -> Callable[[], Provider]:
    from dstack_provider_jupyter.provider import NotebookProvider

    return NotebookProvider


@hookimpl
def dstack_providers() -> Sequence[Entry[Callable[[], Provider]]]:
    """The provider `notebook`."""
    return [Entry("notebook", "Opens Jupyter Notebook in the browser", _provider)]
