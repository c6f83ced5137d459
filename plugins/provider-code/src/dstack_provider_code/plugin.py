"""Plugin `code`: the provider of that name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dstack_core.hookspecs import Entry, hookimpl

if TYPE_CHECKING:
    from dstack_core.provider import Provider


def _provider() -> Callable[[], Provider]:
    from dstack_provider_code.provider import CodeProvider

    return CodeProvider


@hookimpl
def dstack_providers() -> Sequence[Entry[Callable[[], Provider]]]:
    """The provider `code`."""
    return [Entry("code", "Opens VS Code in the browser", _provider)]
