"""Sockets in the network of the machines, a namespace of its own, and relays from there to ports of this machine.

A machine and a test name a server by the same address, `127.0.0.1:PORT`: the machine's packets to it are sent on to the
network's gateway (`cloud_guest/vm_init.py` does that), where a relay takes them to the port of this machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any, TypeVar

SUBNET = "172.31.0.0/16"
GATEWAY = "172.31.0.1"
METADATA = "169.254.169.254"

_NEW_NETWORK = 0x40000000
_CHUNK = 1 << 18
T = TypeVar("T")


def within(pid: int, call: Callable[[], T]) -> T:
    """What `call` returns, in the network namespace of a process. Sockets stay where they were made."""
    found: list[T] = []
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=enter)  # the namespace is the thread's, and goes with it
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def listen(pid: int, address: str, port: int) -> socket.socket:
    """A socket that listens in the network of a process."""
    return within(pid, lambda: socket.create_server((address, port), backlog=512))


def set_link(network: int, machine: int, up: bool) -> None:
    """Plug a machine's cable in or out, at the end that it cannot see. Both are process ids."""
    (inside,) = _ip(machine, "link", "show", "eth0")
    (name,) = [link["ifname"] for link in _ip(network, "link") if link["ifindex"] == inside["link_index"]]
    _ip(network, "link", "set", name, "up" if up else "down")


def _ip(pid: int, *words: str) -> list[dict[str, Any]]:
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", *words]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [found for found in json.loads(said or "[]") if found]


class Relay:
    """Takes each connection of a listening socket to a port of this machine, or wherever `connect` gets.

    `flowing`: cleared, nothing is handed on in either direction, as when a network is cut. `admits`: whether whoever
    comes from an address is heard at all.
    """

    def __init__(
        self, server: socket.socket, port: int, connect: Callable[[], socket.socket] | None = None,
        admits: Callable[[str], bool] = bool,
    ) -> None:  # fmt: skip
        self._server = server
        self._connect = connect or (lambda: socket.create_connection(("127.0.0.1", port)))
        self._admits = admits
        self.flowing = threading.Event()
        self.flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take nobody any more. Connections that there are stay."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # else the thread that waits there keeps it
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                inside, (came_from, *_) = self._server.accept()
            except OSError:
                return  # closed
            try:
                if not self._admits(came_from):
                    raise OSError("nobody answers there")
                outside = self._connect()
            except OSError:
                inside.close()
                continue
            for taken, given in ((inside, outside), (outside, inside)):
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pump, args=(taken, given, self.flowing), daemon=True).start()


def _pump(taken: socket.socket, given: socket.socket, flowing: threading.Event) -> None:
    """All bytes one way, and the end of them."""
    buffer = memoryview(bytearray(_CHUNK))
    with contextlib.suppress(OSError):
        while count := taken.recv_into(buffer):
            flowing.wait()
            given.sendall(buffer[:count])
    with contextlib.suppress(OSError):
        given.shutdown(socket.SHUT_WR)
    # The other direction may still be going; the sockets are closed when both threads have forgotten them.
