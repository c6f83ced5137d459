"""The log of one attempt: numbered entries in segment objects, with an end marker.

Segments are `<prefix>/<8-digit number>`, from 1. Each is a sequence of whole entries:

    <seq> <ms since the epoch> <o|e|x> <length>\\n
    <length raw bytes>\\n

`o` is stdout, `e` stderr; `x` is the end, and its bytes are the exit code, or `-` when there is none. `seq` counts from
0 without a hole, over all segments. Bytes are stored as they were written; an entry has at most 64 KiB of them, and
a longer write is several entries. An entry that does not end in a newline goes on in the next one of its stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from dstack_core._content.logwriting import LogWriter, segment_key
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import InputError, NotFoundError

__all__ = ["LogBatch", "LogCursor", "LogEntry", "LogReader", "LogWriter"]

_AT_ONCE: Final = 4 * 1024 * 1024  # bytes that one `read` takes
_HEADER: Final = re.compile(rb"(\d{1,18}) (\d{1,18}) ([oex]) (\d{1,5})\n")
_NEXT: Final = re.compile(rb"(?<=\n)" + _HEADER.pattern)
_LONGEST_HEADER: Final = 64


class LogEntry(NamedTuple):
    """One entry. `time` is ms since the epoch.

    `stream`: `o` stdout, `e` stderr, `x` the end (`data`: the exit code or `-`), `gap` (`data`: how many entries,
    from `seq` on, are lost).
    """

    seq: int
    time: int
    stream: str
    data: bytes


class LogCursor(NamedTuple):
    """Where to go on reading: `str` of it is a token, `parse` reads that."""

    segment: int = 1
    offset: int = 0
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.segment}.{self.offset}.{self.seq}"

    @classmethod
    def parse(cls, token: str) -> LogCursor:
        """The cursor of a token. Raises InputError."""
        if not re.fullmatch(r"[1-9]\d{0,7}\.\d{1,15}\.\d{1,18}", token, re.ASCII):
            raise InputError(f"not a place in a log: {token!r}")
        return cls(*map(int, token.split(".")))


class LogBatch(NamedTuple):
    """`entries` are in order. None and not `ended`: nothing more has been written yet."""

    entries: list[LogEntry]
    cursor: LogCursor
    ended: bool


class LogReader:
    """Reads a log, also while it is written. Has no state: all of it is in the cursor."""

    def __init__(self, store: ArtifactStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def read(self, cursor: LogCursor | None = None, since: int | None = None) -> LogBatch:
        """The entries from `cursor` (default: the beginning), at most some megabytes of them; call again for more.

        An entry that is missing for good is told by an entry `gap`; one that is not there yet is not.

        Args:
            since: ms since the epoch; older output is left out, gaps and the end are not.

        Raises:
            StoreError: the store cannot be read.
        """
        cursor = cursor or LogCursor()
        while True:
            data = self._segment(cursor)
            batch = _parse(data, cursor, since)
            if batch.ended or batch.cursor.offset > cursor.offset:
                return batch
            following = self._following(cursor.segment)
            if following is None:
                return batch
            # The writer has gone on to another segment; whatever it added here is visible by now.
            if len(self._segment(cursor)) == len(data):
                cursor = LogCursor(following, 0, batch.cursor.seq)

    def read_all(self, cursor: LogCursor | None = None, since: int | None = None) -> Iterator[LogEntry]:
        """Everything that is there now."""
        while True:
            batch = self.read(cursor, since)
            yield from batch.entries
            if batch.ended or batch.cursor == cursor:
                return
            cursor = batch.cursor

    def start(self, since: int) -> LogCursor:
        """A place from which all entries of that time (ms since the epoch) and later are read, and few before it."""
        segments = [n for info in self._store.list(self._prefix + "/") if (n := self._number(info.key))]
        low, high = 0, len(segments) - 1
        best = LogCursor()
        while low <= high:
            middle = (low + high) // 2
            head = self._store.read(segment_key(self._prefix, segments[middle]), 0, _LONGEST_HEADER).data
            match = _HEADER.match(head)
            if match and int(match[2]) < since:
                best = LogCursor(segments[middle], 0, int(match[1]))
                low = middle + 1
            else:
                high = middle - 1
        return best

    def near_end(self, size: int) -> LogCursor:
        """A place from which about the last `size` bytes are read; what they begin with may be a `gap`."""
        last = max(self._store.list(self._prefix + "/"), key=lambda info: info.key, default=None)
        number = self._number(last.key) if last else None
        if last is None or number is None:
            return LogCursor()
        return LogCursor(number, max(0, last.size - size), 0)

    def _segment(self, cursor: LogCursor) -> bytes:
        try:
            return self._store.read(segment_key(self._prefix, cursor.segment), cursor.offset, _AT_ONCE).data
        except NotFoundError:
            return b""

    def _following(self, segment: int) -> int | None:
        for info in self._store.list(self._prefix + "/", segment_key(self._prefix, segment)):
            if (number := self._number(info.key)) is not None:
                return number
        return None

    def _number(self, key: str) -> int | None:
        name = key.rpartition("/")[2]
        return int(name) if name.isdigit() else None


def _parse(data: bytes, cursor: LogCursor, since: int | None) -> LogBatch:
    """The whole entries in `data`, which begins at `cursor`."""
    entries: list[LogEntry] = []
    seq = cursor.seq
    at = 0
    while at < len(data):
        match = _HEADER.match(data, at)
        if match is None:
            if len(data) - at < _LONGEST_HEADER and b"\n" not in data[at:]:
                break  # the rest of the line is not there yet
            later = _NEXT.search(data, at + 1)
            if later is None:
                if len(data) == _AT_ONCE:
                    at = len(data) - _LONGEST_HEADER
                break
            at = later.start()
            continue
        end = match.end() + int(match[4])
        if end >= len(data):
            break  # nor are all of its bytes
        if data[end] != 10:
            at += 1  # damaged: look for the next entry
            continue
        entry = LogEntry(int(match[1]), int(match[2]), match[3].decode(), data[match.end() : end])
        at = end + 1
        if entry.seq < seq:
            continue
        if entry.seq > seq:
            entries.append(LogEntry(seq, entry.time, "gap", str(entry.seq - seq).encode()))
        seq = entry.seq + 1
        if entry.stream == "x":
            entries.append(entry)
            return LogBatch(entries, LogCursor(cursor.segment, cursor.offset + at, seq), True)
        if since is None or entry.time >= since:
            entries.append(entry)
    return LogBatch(entries, LogCursor(cursor.segment, cursor.offset + at, seq), False)
