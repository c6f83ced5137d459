"""A few threads for what waits on disks and networks, never more work in flight than memory allows."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from types import TracebackType

THREADS: Final = 4
"""Each may hold one part (16 MiB), and one more waits for it: under 256 MiB in all."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, from several threads but one at a time."""


def counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Takes the bytes of each step, from any thread, and tells `progress` of their sum."""
    if progress is None:
        return lambda _: None
    lock = threading.Lock()
    done = 0

    def count(n: int) -> None:
        nonlocal done
        with lock:
            done += n
            progress(done, total)

    return count


class Crew:
    """Runs calls in threads. The first call runs here and now, so that small work never starts a thread."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._going: deque[Future[None]] = deque()
        self._calls = 0

    def call(self, function: Callable[[], None]) -> None:
        """Run it, here or in a thread; waits while all threads are busy. Raises what an earlier call raised."""
        self._calls += 1
        if self._calls == 1:
            function()
            return
        while len(self._going) > self._threads:
            self._going.popleft().result()
        self._going.append(self._executor().submit(function))

    def start(self, function: Callable[[], None]) -> Future[None]:
        """Run it in a thread; the caller waits for the result."""
        return self._executor().submit(function)

    def wait(self) -> None:
        """Wait for all calls. Raises what one of them raised."""
        while self._going:
            self._going.popleft().result()

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="dstack-content")
        return self._pool

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)


_paused = 0
_pausing = threading.Lock()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Python's collector of cycles does not run: it takes a third of the time when 100,000 entries are made."""
    global _paused
    with _pausing:
        ours = _paused > 0 or gc.isenabled()
        _paused += ours
        gc.disable()
    try:
        yield
    finally:
        with _pausing:
            _paused -= ours
            if ours and not _paused:
                gc.enable()
