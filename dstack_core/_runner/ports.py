"""The ports of this machine at which a job is reached."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
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


def _hold(port: Port, apart: bool, held: contextlib.ExitStack) -> int:
    named = [number for number in (port.local, port.number) if number]
    for number in [*named, None] if apart else [port.number]:
        with contextlib.suppress(OSError):
            server = held.enter_context(socket.create_server((HOST, number or 0)))
            return int(server.getsockname()[1])
    raise JobError(
        f"somebody on this machine has port {port.number}, at which the job would listen",
        hint="end what listens there, or let the job have any port: `ports: 1`, and $PORT_0 in its commands",
    )
