"""Ways from this machine into the network of the emulated machines, which is a namespace of its own."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable

from cloud_network import Relay, within


def public_address() -> str:
    """A new one for a machine: of this machine's loopback, so that it leads there."""
    return f"127.{random.randint(16, 250)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


class Inbound:
    """Addresses of this machine that lead to ports of machines. `pid` names the machines' network."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], tuple[str, Relay]] = {}
        self._cut: set[str] = set()

    def open(self, machine: str, address: str, port: int, host: str = "127.0.0.1", at: int = 0,
             admits: Callable[[str], bool] = bool) -> tuple[str, int]:  # fmt: skip
        """Lead `host`:`at` (0: any free port) to a machine's port; where that is. It is no error if it does already."""
        with self._lock:
            if (host, at) not in self._open:
                server = socket.create_server((host, at), backlog=64)
                at = server.getsockname()[1]
                target = (address, port)
                relay = Relay(
                    server, 0, lambda: within(self._pid, lambda: socket.create_connection(target, timeout=10)), admits
                )
                if machine in self._cut:
                    relay.flowing.clear()
                self._open[host, at] = (machine, relay)
        return host, at

    def close(self, host: str, at: int) -> None:
        """Lead nobody there any more."""
        with self._lock:
            if found := self._open.pop((host, at), None):
                found[1].close()

    def of(self, machine: str) -> list[tuple[str, int]]:
        """What leads to a machine."""
        with self._lock:
            return [place for place, (name, _) in self._open.items() if name == machine]

    def cut(self, machine: str, cut: bool) -> None:
        """Nothing gets through to a machine, nor back, until it is undone; nobody is told."""
        with self._lock:
            (self._cut.add if cut else self._cut.discard)(machine)
            for name, relay in self._open.values():
                if name == machine:
                    (relay.flowing.clear if cut else relay.flowing.set)()
