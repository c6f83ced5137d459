"""Plugin `lab`: the provider of that name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, hookimpl

if TYPE_CHECKING:
    from dstack_core.provider import Provider


def _provider() -> Callable[[], Provider]:
    from dstack_provider_jupyter.provider import LabProvider

    return LabProvider


@hookimpl
def dstack_providers() -> Sequence[Entry[Callable[[], Provider]]]:
    """The provider `lab`."""
    return [Entry("lab", "Opens JupyterLab in the browser", _provider)]
