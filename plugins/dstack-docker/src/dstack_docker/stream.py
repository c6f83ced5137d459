"""A container's output: from the engine's stream, byte by byte as it was, to the two descriptors that want it."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import Any, Final

HEADER: Final = 8
CHUNK: Final = 1 << 16
STDERR: Final = 2


class Stream:
    """Moves the output at the pace of whoever reads it; nothing is kept in between.

    The engine sends frames: a byte that says which stream, three of nothing, four with the length, and the data.
    """

    def __init__(self, connection: Any, stdout: int, stderr: int) -> None:
        self._socket: socket.socket = getattr(connection, "_sock", connection)
        self._connection = connection
        self._ends = {STDERR: os.dup(stderr), 1: os.dup(stdout)}
        self.whole = False

    def run(self) -> None:
        """Until the end. `whole` afterwards: the stream came to its end, and all of it was passed on."""
        try:
            self.whole = self._move()
        except OSError:
            self.whole = False
        finally:
            self.drop()

    def drop(self) -> None:
        """Give back what it took: at its end, or when it never began."""
        for end in self._ends.values():
            os.close(end)
        self.close()

    def close(self) -> None:
        """Listen no longer. Idempotent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        response = getattr(self._connection, "_response", None)
        for part in (response, self._connection, self._socket):
            with suppress(OSError, ValueError):  # ValueError: it was closed with the one before
                if part is not None:
                    part.close()

    def _move(self) -> bool:
        while header := self._receive(HEADER):
            while len(header) < HEADER:
                more = self._receive(HEADER - len(header))
                if not more:
                    return False
                header += more
            which, left = struct.unpack(">BxxxL", header)
            while left:
                data = self._receive(min(left, CHUNK))
                if not data:
                    return False
                left -= len(data)
                _write(self._ends[STDERR if which == STDERR else 1], data)
        return True

    def _receive(self, size: int) -> bytes:
        return self._socket.recv(size)


def _write(end: int, data: bytes) -> None:
    """All of it. Whoever has closed the other end wants no more: then it goes nowhere, and the job is not held up."""
    view = memoryview(data)
    with suppress(BrokenPipeError):
        while view:
            view = view[os.write(end, view) :]
