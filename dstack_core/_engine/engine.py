"""What bringing a run forward needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dstack_core._engine.executors import Executors
from dstack_core._engine.pulse import Pulses
from dstack_core._engine.remote import Remote
from dstack_core._engine.settle import Tell
from dstack_core.artifact_store import ArtifactStore
from dstack_core.backend import Backend

if TYPE_CHECKING:
    from dstack_core._engine.elsewhere import Elsewhere


@dataclass
class Engine:
    """What bringing a run forward needs, and what whoever keeps doing that has seen so far.

    Attributes:
        pulses: when machines gave a sign of life.
        launches: whether machines are launched here; else only those are taken that wait for another run, and whoever
            brings the run forward elsewhere launches.
        scarce_until: no more machines are asked for before that, by the monotonic clock.
    """

    store: ArtifactStore
    backend: Backend
    remote: Remote
    executors: Executors
    tell: Tell
    pulses: Pulses = field(default_factory=Pulses)
    launches: bool = True
    scarce_until: float = 0.0
    _elsewhere: Elsewhere | None = None

    def prepare(self) -> Elsewhere:
        """What launches of machines that are other computers need. Raises as `Elsewhere` does."""
        if self._elsewhere is None:
            from dstack_core._engine.elsewhere import Elsewhere

            self._elsewhere = Elsewhere(self.store, self.executors.plugins, self.remote)
        return self._elsewhere
