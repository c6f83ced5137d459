"""Writing a log: see `logs` for what is stored.

Output is sent by a thread: some milliseconds after it was written if the store's objects can grow (50 ms after what was
sent before it, at the soonest), and in segments of about a second otherwise, the first one as soon as it comes. While
the store fails, output waits in a file on this machine's disk and sending is tried again; what was sent is recognised
by its place, so that nothing is stored twice. The thread starts with the first output: a job that prints nothing costs
one write, of the end marker.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Final, Union

from dstack_core._content.masking import Masker
from dstack_core.artifact_store import ABSENT, ArtifactStore, SupportsAppend
from dstack_core.errors import ConflictError, NotFoundError, StoreError
from dstack_core.home import dstack_home

ENTRY_LIMIT: Final = 64 * 1024
"""Bytes of output in one entry."""
SEGMENT_LIMIT: Final = 64 * 1024 * 1024
"""A segment that grows is ended when it has this many bytes."""
_MEMORY: Final = 1024 * 1024  # bytes that wait in memory
_SPOOL: Final = 1024 * 1024 * 1024  # bytes that wait on disk; then the log is full
_FILE: Final = 64 * 1024 * 1024  # bytes of one file of those: what was sent gives its room back with its file
_SOON, _LATER = 0.05, 1.0  # seconds: between two sendings to an object that grows, until a new object is sent
_GATHER = 0.005  # seconds: a line, or a few, are often written in pieces
_LASTING = 5.0  # seconds that the end of a log waits for a store whose failure will hardly pass by itself

Mask = Union[Callable[[bytes], bytes], Sequence[bytes]]  # noqa: UP007 - evaluated, on Python 3.10, too
"""Secrets to mask, or a function that masks each write on its own."""


def segment_key(prefix: str, number: int) -> str:
    """The key of a segment."""
    return f"{prefix}/{number:08d}"


class LogWriter:
    """Writes one log, from its beginning; the only writer of its prefix. Safe for several threads."""

    def __init__(self, store: ArtifactStore, prefix: str, mask: Mask | None = None) -> None:
        self._sink: _Growing | _Segments
        self._sink = _Growing(store, prefix) if isinstance(store, SupportsAppend) else _Segments(store, prefix)
        self._mask = mask
        self._maskers: dict[str, Masker] = {}
        self._state = threading.Condition()
        self._waiting = _Waiting()
        self._seq = 0
        self._closing = False
        self._deadline = 0.0
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def write(self, stream: str, data: bytes) -> bool:
        """Take output of `o` (stdout) or `e` (stderr). Never waits.

        Returns:
            Whether there is room for more. If not, very much output could not be sent yet: what is written all the
            same is taken, but whoever can wait should. Writing nothing tells how it stands.

        Raises:
            ValueError: the log is closed, or the stream is none.
        """
        if stream not in ("o", "e"):
            raise ValueError(f"not a stream: {stream!r}")
        with self._state:
            if self._closing:
                raise ValueError("the log is closed")
            self._put(stream, self._masked(stream, data))
            if self._waiting.size and self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="dstack-log", daemon=True)
                self._thread.start()
            return self._waiting.size <= self._waiting.limit

    def close(self, exit: int | None = None, timeout: float = 60.0) -> None:  # noqa: A002
        """Send all that is left, and the end marker with the exit code; durable on return. Idempotent.

        Raises:
            StoreError: the store did not take it within `timeout` seconds, or a part of it was lost before.
        """
        with self._state:
            if not self._closing:
                for stream, masker in sorted(self._maskers.items()):
                    self._put(stream, masker.flush())
                self._closing = True
                self._deadline = time.monotonic() + timeout
                self._add("x", b"-" if exit is None else str(exit).encode())
                self._state.notify_all()
        if self._thread is None:
            self._send_all()
        else:
            self._thread.join()
        if self._error is not None:
            raise StoreError(f"the log could not be stored: {self._error}", hint=getattr(self._error, "hint", None))

    def _masked(self, stream: str, data: bytes) -> bytes:
        if self._mask is None:
            return data
        if callable(self._mask):
            return self._mask(data)
        if stream not in self._maskers:
            self._maskers[stream] = Masker(self._mask)
        return self._maskers[stream].feed(data)

    def _put(self, stream: str, data: bytes) -> None:
        for start in range(0, len(data), ENTRY_LIMIT):
            self._add(stream, data[start : start + ENTRY_LIMIT])

    def _add(self, stream: str, data: bytes) -> None:
        header = b"%d %d %b %d\n" % (self._seq, time.time_ns() // 1_000_000, stream.encode(), len(data))
        self._seq += 1
        before = self._waiting.size
        self._waiting.put(header + data + b"\n")
        if not before or before < _MEMORY <= self._waiting.size:
            self._state.notify_all()

    # --- the thread that sends ---

    def _send_all(self) -> None:
        while True:
            with self._state:
                while not self._waiting.size and not self._closing:
                    self._state.wait()
                if not self._closing and self._waiting.size < _MEMORY:
                    self._state.wait_for(lambda: self._closing or self._waiting.size >= _MEMORY, self._sink.pause())
                try:
                    data = self._waiting.take()
                except OSError as error:  # a gap in the log, and what follows is still worth sending
                    data, self._error = b"", error
                last = self._closing and not self._waiting.size
                self._state.notify_all()
            if data and not self._send(data, last):
                return
            if last:
                return

    def _send(self, data: bytes, last: bool) -> bool:
        pause = 0.1
        while True:
            try:
                self._sink.send(data, last)
                return True
            except Exception as error:  # whatever a store raises, the output is not lost by it
                with self._state:
                    if self._closing and getattr(error, "lasting", False):
                        self._deadline = min(self._deadline, time.monotonic() + _LASTING)
                    if self._closing and time.monotonic() >= self._deadline:
                        self._error = error
                        return False
                    if self._closing:
                        pause = min(pause, max(0.0, self._deadline - time.monotonic()))
                        self._state.wait(pause)
                    else:
                        # Waking up early when the log is closed, not whenever something is written.
                        self._state.wait_for(lambda: self._closing, pause)
                pause = min(pause * 2, 5.0)


class _Growing:
    """Appends to segments."""

    delay = _SOON

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        assert isinstance(store, SupportsAppend)
        self._sent = time.monotonic()  # what a job of a few milliseconds writes is sent with its end
        self._append = store.append
        self._store = store
        self._prefix = prefix
        self._number = 1
        self._offset = 0

    def pause(self) -> float:
        """Seconds until output that came just now is to be sent."""
        return max(_GATHER, self._sent + self.delay - time.monotonic())

    def send(self, data: bytes, last: bool) -> None:
        self._sent = time.monotonic()
        if self._offset >= SEGMENT_LIMIT:
            self._number, self._offset = self._number + 1, 0
        key = segment_key(self._prefix, self._number)
        # The last of its segment, too: whoever makes the end of the log durable cannot know of the segments before.
        last = last or self._offset + len(data) >= SEGMENT_LIMIT
        try:
            self._append(key, data, self._offset, last)
        except ConflictError:
            self._go_on(key, data, last)
        self._offset += len(data)

    def _go_on(self, key: str, data: bytes, last: bool) -> None:
        """An earlier try got through, as a whole or in part, and its answer did not; or the segment is not ours."""
        try:
            there = self._store.read(key, self._offset, len(data) + 1).data
        except NotFoundError:
            there = None
        if there is not None and data.startswith(there):
            if len(there) < len(data) or last:
                self._append(key, data[len(there) :], self._offset + len(there), last)
            return
        self._number, self._offset = self._number + 1, 0
        self._append(segment_key(self._prefix, self._number), data, 0, last)


class _Segments:
    """Writes a segment for each batch."""

    delay = _LATER

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._number = 1
        self._sent = time.monotonic() - self.delay

    def pause(self) -> float:
        """As `_Growing.pause`. Each sending is an object, and may cost money; but for the first people wait."""
        return max(_SOON, self._sent + self.delay - time.monotonic())

    def send(self, data: bytes, last: bool) -> None:
        self._sent = time.monotonic()
        key = segment_key(self._prefix, self._number)
        try:
            self._store.write(key, data, ABSENT)
        except ConflictError:
            if self._store.read(key).data != data:  # not an earlier try of ours
                self._number += 1
                self._store.write(segment_key(self._prefix, self._number), data, ABSENT)
        self._number += 1


class _Waiting:
    """Entries that are not sent yet, in order: the older ones in files when there are many.

    `size` is in bytes, as is `limit`: above it, nothing more should be put in.
    """

    def __init__(self) -> None:
        self.size = 0
        self.limit = _SPOOL
        self._recent: list[bytes] = []
        self._recent_size = 0
        self._spool: IO[bytes] | None = None
        self._end = 0
        self._groups: deque[tuple[IO[bytes], int, int]] = deque()

    def put(self, entry: bytes) -> None:
        self._recent.append(entry)
        self._recent_size += len(entry)
        self.size += len(entry)
        if self._recent_size > 2 * _MEMORY:
            self._spill()

    def take(self) -> bytes:
        """The oldest entries, some megabytes at most. Raises OSError when they cannot be read back: they are lost."""
        if self._groups:
            return self._take_group()
        data = b"".join(self._recent)
        self._recent = []
        self._recent_size = 0
        self.size -= len(data)
        return data

    def _take_group(self) -> bytes:
        file, offset, length = self._groups.popleft()
        self.size -= length
        try:
            data = os.pread(file.fileno(), length, offset)
        finally:
            if not self._groups or self._groups[0][0] is not file:
                file.close()
                self._spool = None if file is self._spool else self._spool
        if len(data) < length:
            raise OSError(errno.EIO, "what waited on this machine's disk is not there")
        return data

    def _spill(self) -> None:
        data = memoryview(b"".join(self._recent))
        try:
            if self._spool is None or self._end >= _FILE:
                import tempfile  # slow to import, and seldom needed

                # Has no name: it goes with this process.
                self._spool = tempfile.TemporaryFile(dir=dstack_home(), buffering=0)  # noqa: SIM115
                self._end = 0
            done = 0
            while done < len(data):
                done += os.pwrite(self._spool.fileno(), data[done:], self._end + done)
        except OSError:
            self.limit = 4 * _MEMORY  # a full disk
            return
        self.limit = _SPOOL
        self._groups.append((self._spool, self._end, len(data)))
        self._end += len(data)
        self._recent = []
        self._recent_size = 0
