"""From a job's pipes into its log, for as long as anybody can write to them and the job lives."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable
from typing import Final

CHUNK: Final = 1 << 16


class Output:
    """Two pipes: the write ends go to the executor, the read ends are pumped by the thread that runs the attempt."""

    def __init__(self, write: Callable[[str, bytes], bool]) -> None:
        self._write = write
        self._full = False
        self._selector = selectors.DefaultSelector()
        self._ends: list[int] = []
        self._reading: set[int] = set()
        self.stdout = self._pipe("o")
        self.stderr = self._pipe("e")

    @property
    def open(self) -> bool:
        """Whether somebody may still write."""
        return bool(self._reading)

    @property
    def ready(self) -> bool:
        """Whether to pump. Not while the log is full: then the job waits, as it would at any pipe that nobody reads."""
        self._full = self._full and not self._write("o", b"")
        return self.open and not self._full

    def started(self) -> None:
        """The job has its copies of the write ends: close ours, or the pipes would never end."""
        for end in self._ends:
            os.close(end)
        self._ends.clear()

    def pump(self, timeout: float) -> bool:
        """Move what is there, waiting up to `timeout` seconds for the first byte; whether anything came."""
        came = False
        for key, _ in self._selector.select(timeout):
            data = os.read(key.fd, CHUNK)
            if data:
                came = True
                self._full = not self._write(key.data, data)
            else:
                self._forget(key.fd)
        return came

    def close(self) -> None:
        """Take what is still in the pipes, without waiting for more, and close them. Idempotent."""
        self.started()
        while self.open and self.pump(0):
            pass
        for read in list(self._reading):
            self._forget(read)
        self._selector.close()

    def _pipe(self, stream: str) -> int:
        read, write = os.pipe()
        self._selector.register(read, selectors.EVENT_READ, stream)
        self._reading.add(read)
        self._ends.append(write)
        return write

    def _forget(self, read: int) -> None:
        self._selector.unregister(read)
        self._reading.discard(read)
        os.close(read)
