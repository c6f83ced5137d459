"""The contract of a backend: it gives machines."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from dstack_core.models import Launch, Offer, Requirements

MachineState = Literal["starting", "up", "gone", "unknown"]
"""`unknown` is not `gone`: nothing is ended or started again because a backend could not tell."""


@dataclass(frozen=True)
class Offers:
    """What fits, best first, and why the rest was rejected (`name: reason`), for people."""

    fitting: Sequence[Offer] = ()
    rejected: Sequence[str] = ()


class Backend(abc.ABC):
    """One backend, opened with its settings.

    `distant`: its machines are other computers. They start from a `Launch.bundle`, end themselves when nobody extends
    their life (`dstack_core.cloud.boot`), and every job runs in a container there.
    """

    distant: ClassVar[bool] = False

    @abc.abstractmethod
    def offers(self, requirements: Requirements) -> Offers:
        """The machine shapes that can be had now and satisfy `requirements`.

        `dstack_core.matching` decides what satisfies; core gives a machine only jobs that its offer satisfies by it.
        """

    @abc.abstractmethod
    def launch(self, offer: Offer, launch: Launch) -> str:
        """Start a machine that starts a runner; returns the handle by which `state` and `terminate` know it.

        Called after the machine's record is stored. Idempotent by `launch.machine`: a second call with the same
        one returns the same machine. The machine carries `launch.machine` as a label from the first instant.

        Raises:
            CapacityError: not this offer, now; the caller tries the next one.
        """

    @abc.abstractmethod
    def state(self, machine: str, handle: str | None) -> MachineState:
        """How the machine is. `handle` is None when `launch` was cut short: then find it by its label."""

    @abc.abstractmethod
    def machines(self) -> Sequence[str]:
        """The ids (labels) of all machines of ours that exist, whether or not a record explains them."""

    @abc.abstractmethod
    def terminate(self, machine: str, handle: str | None) -> None:
        """End the machine and everything that runs on it. Ending what is gone is no error."""


@runtime_checkable
class SupportsNotice(Protocol):
    """A backend that tells a machine beforehand that it will be taken away."""

    def notice(self) -> float | None:
        """When this very machine will be taken away (seconds since the epoch), None if that is not known to happen.

        Asked by the runner on the machine every few seconds, so it takes a second at most, and never raises a
        DstackError: who cannot tell does not know.
        """
