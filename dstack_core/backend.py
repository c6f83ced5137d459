"""The contract of a backend: it gives machines."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from contextlib import AbstractContextManager
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


@dataclass(frozen=True)
class Leftover:
    """Something that a backend has, and that may cost money: a machine, or what was made with one.

    Attributes:
        kind: `machine`, `disk`, `address`, `request`, `rule` (that lets somebody reach a machine).
        id: the backend's own name for it.
        machine: label, the id of the machine that it is or was made for.
        run: label, the run that the machine was started for; empty if there is none.
        store: label, `Launch.store`; empty if there is none.
        created: seconds since the epoch; 0 if nobody knows.
        price: USD per hour, as far as it is known.
    """

    kind: Literal["machine", "disk", "address", "request", "rule"]
    id: str
    machine: str
    run: str = ""
    store: str = ""
    region: str = ""
    created: float = 0.0
    price: float = 0.0


@runtime_checkable
class SupportsLeftovers(Protocol):
    """A backend that can tell what of ours exists, whether or not a record explains it."""

    def leftovers(self) -> Sequence[Leftover]:
        """Everything that exists and carries the label of a machine, found by the label. Raises DstackError."""

    def end(self, leftover: Leftover) -> None:
        """End it. Ending what is gone is no error. Raises DstackError."""


@dataclass(frozen=True)
class Address:
    """Where something is reached by TCP: a name or an IP address, and a port."""

    host: str
    port: int


@runtime_checkable
class SupportsReach(Protocol):
    """A backend of machines that are other computers, and that a user may reach."""

    def reach(self, machine: str, handle: str | None, port: int) -> AbstractContextManager[Address]:
        """The way from this very computer to a port of a machine, where an SSH server listens.

        While the context is entered, the way is open: to the caller alone, as far as the backend can tell callers
        apart, and never to everybody. Afterwards nothing of it is left. What is left when this process is killed is
        found as a `Leftover` of kind `rule`, and ends with the machine at the latest. Core enters
        anew whenever a way breaks, so that whoever comes from another network since is let in, too.

        Args:
            machine, handle: as for `state`.
            port: where the machine listens, on all of its addresses.

        Raises:
            ReachError: the machine has no address that could be reached from here.
            DstackError: the backend cannot be asked, or does not let us.
        """
