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
    """Takes each connection of a listening socket to a port of this machine."""

    def __init__(self, server: socket.socket, port: int) -> None:
        self._server = server
        self._port = port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._server.accept()
            except OSError:
                return  # closed
            try:
                outside = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                inside.close()
                continue
            for taken, given in ((inside, outside), (outside, inside)):
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pump, args=(taken, given), daemon=True).start()


def _pump(taken: socket.socket, given: socket.socket) -> None:
    """All bytes one way, and the end of them."""
    buffer = memoryview(bytearray(_CHUNK))
    with contextlib.suppress(OSError):
        while count := taken.recv_into(buffer):
            given.sendall(buffer[:count])
    with contextlib.suppress(OSError):
        given.shutdown(socket.SHUT_WR)
    # The other direction may still be going; the sockets are closed when both threads have forgotten them.
