"""Keeps what a plugin prints while it is loaded away from the output of the command that loads it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_LIMIT = 65536
_one_at_a_time = threading.RLock()


class Output:
    """What was printed, up to 64 KiB; filled when the block ends."""

    text: str = ""


@contextlib.contextmanager
def quiet(patience: float, complaint: str) -> Iterator[Output]:
    """Divert stdout and stderr, as file descriptors, while the block runs.

    When the block takes longer than `patience` seconds, `complaint` is written to the real stderr, once.
    """
    output = Output()
    with _one_at_a_time:
        streams = sys.stdout, sys.stderr
        _flush(*streams)
        try:
            saved = os.dup(1), os.dup(2)
        except OSError:  # started without stdout or stderr: nothing to protect
            yield output
            return
        sink = _sink()
        timer = threading.Timer(patience, _complain, (saved[1], complaint))
        timer.daemon = True
        timer.start()
        try:
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            yield output
        finally:
            timer.cancel()
            _flush(sys.stdout, sys.stderr, *streams)
            sys.stdout, sys.stderr = streams
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            output.text = _content(sink)
            timer.join()
            for descriptor in (sink, *saved):
                os.close(descriptor)


def _sink() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("dstack-plugin-output")
    import tempfile

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor


def _content(sink: int) -> str:
    return os.pread(sink, _LIMIT, 0).decode("utf-8", "replace")


def _complain(stderr: int, complaint: str) -> None:
    with contextlib.suppress(OSError):
        os.write(stderr, f"{complaint}\n".encode())


def _flush(*streams: object) -> None:
    for stream in streams:
        # The plugin may have closed or replaced a stream; a pipe that nobody reads is noticed by the next real write.
        with contextlib.suppress(Exception):
            stream.flush()  # type: ignore[attr-defined]
