"""What machines run of what is installed, and which files they can do without.

A file stays at home if everybody agrees whose distributions need the one that it is of: of a library that two plugins
use, machines get what either needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dstack_core._engine.installed import needed

Unneeded = Callable[[str, str], bool]
"""See `dstack_core.hookspecs.Entry.unneeded`."""
CORE: Final = "dstack-core"
_SHOWN: Final = frozenset({"rich", "pygments", "markdown-it-py", "mdurl"})
"""What only commands use, to show something."""
_HERE: Final = ("dstack_core/_cli/", "dstack_core/testing/")


@dataclass(frozen=True)
class Part:
    """Something that machines run.

    Attributes:
        distribution: that has it.
        name: of the capability, as distributions may have several.
        unneeded: which files, of all that the distribution needs, it does without; None: it needs all.
    """

    distribution: str
    name: str = ""
    unneeded: Unneeded | None = None


class Spared:
    """Tells which files stay at home. Raises InputError, from its making, as `needed` does."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._said: dict[str, list[Unneeded | None]] = {}
        for part in parts:
            # They all need core; what core needs for itself is for core to say.
            for one in needed([part.distribution], apart=(CORE,)):
                self._said.setdefault(one.name, []).append(part.unneeded)

    def __call__(self, distribution: str, path: str) -> bool:
        """Whether nobody needs the file with this path, relative to where distributions are installed."""
        said = self._said.get(distribution, ())
        return bool(said) and all(one is not None and one(distribution, path) for one in said)


def core() -> Part:
    """Core itself, without what only commands and tests use."""
    return Part(CORE, "", lambda distribution, path: distribution in _SHOWN or path.startswith(_HERE))
