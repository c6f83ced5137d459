"""What jobs wrote, on its way to a terminal, a pipe or a program."""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from typing import Any, BinaryIO, Final, Protocol, cast

from dstack_core._cli.runs import moment
from dstack_core._content.logs import LogEntry

TICKS: Final = 1000
"""Log entries count milliseconds since the epoch."""
STREAMS: Final = {"o": "stdout", "e": "stderr", "x": "end", "gap": "gap"}

_COLOUR: Final = rb"\x1b\[[0-9;:]*m"
_SEQUENCES: Final = re.compile(
    rb"(" + _COLOUR + rb")"
    rb"|\x1b\[[0-?]*[ -/]*[@-~]"  # other control sequences: the cursor, the screen
    rb"|\x1b[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\)){0,4096}(?:\x07|\x1b\\)"  # strings: the window's title, the clipboard
    rb"|\x1b[ -/]*[0-~]?"
    rb"|\xc2(?:[\x80-\x9f]|(?![\xa0-\xbf]))"  # alone, it would make such a pair with what follows a removed sequence
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)
_PERHAPS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xc2]")
_UNFINISHED: Final = re.compile(
    rb"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\)){0,4096}|[ -/]*)?|\xc2)\Z"
)


def clean(data: bytes) -> bytes:
    """`data` without what could steer a terminal: as `Terminal`, for what is not cut within a sequence."""
    return _SEQUENCES.sub(lambda found: found[1] or b"", data) if _PERHAPS.search(data) else data


class Terminal:
    """Strips what could steer a terminal: control characters other than colours, tab, newline and carriage return."""

    def __init__(self) -> None:
        self._rest = b""

    def clean(self, data: bytes) -> bytes:
        """`data` without them; a sequence that `data` cuts in two waits for its other half."""
        data = self._rest + data
        cut = _UNFINISHED.search(data)
        self._rest = data[cut.start() :] if cut else b""
        return clean(data[: cut.start()] if cut else data)


class Printer(Protocol):
    """Where the entries of one attempt go."""

    def entry(self, entry: LogEntry) -> None:
        """Print it."""

    def close(self) -> None:
        """The last one was printed."""


class TextPrinter:
    """Stdout to stdout, stderr to stderr: the bytes as they are, unless a terminal or the user wants otherwise.

    Args:
        prefix: stands before each line.
        timestamps: the time stands before each line, too.
    """

    def __init__(self, prefix: str = "", *, timestamps: bool = False) -> None:
        self._outlets = {"o": _Outlet(sys.stdout, prefix, timestamps), "e": _Outlet(sys.stderr, prefix, timestamps)}
        self._last = "o"

    def entry(self, entry: LogEntry) -> None:
        """See `Printer`."""
        outlet = self._outlets.get(entry.stream)
        if outlet is None:
            return
        if entry.stream != self._last:
            self._outlets[self._last].flush()
            self._last = entry.stream
        outlet.write(entry)

    def close(self) -> None:
        """See `Printer`."""
        for outlet in self._outlets.values():
            outlet.close()


class JsonPrinter:
    """One object a line. Output that is not UTF-8 is given as `base64` instead of `text`."""

    def __init__(self, job: str, attempt: int) -> None:
        self._known = {"job": job, "attempt": attempt}

    def entry(self, entry: LogEntry) -> None:
        """See `Printer`."""
        stream = STREAMS.get(entry.stream, entry.stream)
        line: dict[str, Any] = {**self._known, "seq": entry.seq, "time": moment(entry.time / TICKS), "stream": stream}
        if stream == "end":
            code = entry.data.decode("ascii", "replace")
            line["exit_code"] = int(code) if code.isdigit() else None
        elif stream == "gap":
            line["missing"] = int(entry.data or b"0")
        else:
            line |= _payload(entry.data)
        sys.stdout.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """See `Printer`."""
        sys.stdout.flush()


def _payload(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


class _Outlet:
    """One of the two standard streams."""

    def __init__(self, stream: Any, prefix: str, timestamps: bool) -> None:
        self._text = stream
        self._to = cast(BinaryIO, stream.buffer)
        self._prefix = prefix.encode("utf-8", "surrogateescape")
        self._timestamps = timestamps
        self._terminal = Terminal() if stream.isatty() else None
        self._line_begins = True

    def write(self, entry: LogEntry) -> None:
        """Print an entry."""
        data = self._terminal.clean(entry.data) if self._terminal else entry.data
        if not (self._prefix or self._timestamps):
            self._to.write(data)
            return
        for line in _lines(data):
            if self._line_begins:
                self._to.write(self._head(entry))
            self._to.write(line)
            self._line_begins = line.endswith(b"\n")

    def flush(self) -> None:
        """Let the reader have it, before the other stream goes on."""
        self._text.flush()
        self._to.flush()

    def close(self) -> None:
        """A line with something before it is always ended: the next one has something before it, too."""
        if not self._line_begins:
            self._to.write(b"\n")
        self.flush()

    def _head(self, entry: LogEntry) -> bytes:
        if not self._timestamps:
            return self._prefix
        seconds = entry.time / TICKS
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
        return f"{clock}.{int(entry.time) % TICKS:03} ".encode() + self._prefix


def _lines(data: bytes) -> list[bytes]:
    """Lines with their newline. (`splitlines` would end them at a carriage return, too.)"""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
