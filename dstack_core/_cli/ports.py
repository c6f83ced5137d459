"""Ports of jobs on this machine: their addresses, and whether anybody answers there."""

from __future__ import annotations

import socket
from typing import Final

HOST: Final = "127.0.0.1"
PATIENCE: Final = 0.1
"""Seconds; on this machine a port is open or it is not, at once."""


def address(port: int) -> str:
    """Where a port of a job on this machine is reached."""
    return f"http://{HOST}:{port}"


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(PATIENCE)
        return probe.connect_ex((HOST, port)) == 0
