"""The ports of this machine at which a job is reached."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from dstack_core.errors import JobError
from dstack_core.models import Port

HOST: Final = "127.0.0.1"


def choose_ports(asked: Sequence[Port], *, apart: bool) -> tuple[int, ...]:
    """A free port for each. `apart`: the job listens in a network of its own, so that any will do here.

    Raises:
        JobError: somebody on this machine has the port at which the job would listen.
    """
    with contextlib.ExitStack() as held:  # all at once, so that none is given twice
        return tuple(_hold(port, apart, held) for port in asked)


def hold_port(numbers: Iterable[int], held: contextlib.ExitStack) -> int | None:
    """The first of these ports that is free, if any is; 0 is any. Nobody else can have it until `held` is closed."""
    for number in numbers:
        with contextlib.suppress(OSError):
            server = held.enter_context(socket.create_server((HOST, number)))
            return int(server.getsockname()[1])
    return None


def _hold(port: Port, apart: bool, held: contextlib.ExitStack) -> int:
    named = [number for number in (port.local, port.number) if number]
    number = hold_port([*named, 0] if apart else [port.number or 0], held)
    if number is None:
        raise JobError(
            f"somebody on this machine has port {port.number}, at which the job would listen",
            hint="end what listens there, or let the job have any port: `ports: 1`, and $PORT_0 in its commands",
        )
    return number
