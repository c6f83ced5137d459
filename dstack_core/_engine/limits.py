"""What a remote allows its runs and machines: how many at once, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dstack_core._config.reading import Config
from dstack_core.errors import InputError

LEASE: Final = 600.0
SHORTEST_LEASE: Final = 10.0
MACHINES: Final = 4
"""At once for a run, where each is another computer."""


@dataclass(frozen=True)
class Limits:
    """Of a remote. Durations are seconds.

    Attributes:
        machines: that a run has at once; None: as suits the backend.
        lease: after which a machine ends itself that nobody keeps alive, and is taken for lost.
        max_duration: after which a machine ends in any case; None: never.
        machines_launch: whether a machine launches the next one of its run; else only commands do, and machines take
            no others than those that wait for another run.
        idle: for which a machine waits for another run when its own is over.
    """

    machines: int | None = None
    lease: float = LEASE
    max_duration: float | None = None
    machines_launch: bool = True
    idle: float = 0.0

    @classmethod
    def of(cls, config: Config, remote: str) -> Limits:
        """What the config says. Raises InputError."""
        written = config.limits(remote)
        found: dict[str, object] = {"machines_launch": config.switch(remote, "machines_launch", default=True)}
        for name, read in (("machines", _count), ("lease", _lease), ("max_duration", _duration), ("idle", _duration)):
            if name in written:
                try:
                    found[name] = read(written[name])
                except InputError as error:
                    error.where = config.locate("remotes", remote, name)
                    raise
        return cls(**found)  # type: ignore[arg-type]

    def machines_at_once(self, distant: bool) -> int | None:
        """How many a run may have. None: one for whatever it needs; several on one computer would share it."""
        return self.machines or (MACHINES if distant else None)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1000:
        raise InputError(f"`{text}` is no number of machines", hint="write one from 1 to 1000")
    return int(text)


def _duration(text: str) -> float:
    from dstack_core.units import parse_duration  # of few remotes, and every runner looks for its own

    return parse_duration(text)


def _lease(text: str) -> float:
    seconds = _duration(text)
    if seconds < SHORTEST_LEASE:
        raise InputError(f"a lease of `{text}` is too short for a machine to start", hint="write it like `10m`")
    return seconds
