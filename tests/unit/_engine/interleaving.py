"""Actors that share a store, each of which stands still before every access until it is told to go on, or is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from dstack_core._ledger.process import Process
from dstack_core.artifact_store import ANY, ArtifactStore, Object, ObjectInfo

PATIENCE = 60.0
"""Seconds for one step of an actor; one that needs more waits for a lock which an actor that stands still has."""


class Killed(BaseException):
    """As by SIGKILL: nothing that the actor does from now on reaches the store."""


class Actor(threading.Thread):
    """Runs `act` in a thread of its own, step by step."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.killed = False
        self.over = False
        self.error: Exception | None = None
        self._act = act
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self.start()
        self._back.acquire()

    def run(self) -> None:
        try:
            self.stand()
            self._act()
        except Killed:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self._back.release()

    def stand(self) -> None:
        """Called by the actor itself: wait for the next turn."""
        if not self.killed:
            self._back.release()
            self._turn.acquire()
        if self.killed:
            raise Killed

    def step(self) -> None:
        """Let it go on to its next access."""
        if not self.over:
            self._turn.release()
            assert self._back.acquire(timeout=PATIENCE), "an actor stands still at something else than the store"

    def kill(self) -> None:
        self.killed = True
        while not self.over:
            self.step()


def stand(seconds: float = 0.0) -> None:
    """For actors: let the others go on."""
    actor = threading.current_thread()
    if isinstance(actor, Actor):
        actor.stand()


class Stepped(ArtifactStore):
    """Another store, at which actors stand still."""

    def __init__(self, inner: ArtifactStore) -> None:
        self.inner = inner

    @property
    def location(self) -> str:
        return self.inner.location

    def read(self, key: str, start: int = 0, length: int | None = None) -> Object:
        stand()
        return self.inner.read(key, start, length)

    def write(self, key: str, data: bytes | memoryview, expect: str = ANY) -> str:
        stand()
        return self.inner.write(key, data, expect)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        for info in self.inner.list(prefix, after):
            stand()
            yield info
        stand()

    def delete(self, key: str, expect: str = ANY) -> None:
        stand()
        self.inner.delete(key, expect)

    def exists(self, key: str) -> bool:
        stand()
        return self.inner.exists(key)


class Processes:
    """Stands in for `_ledger.process`: every actor is a process."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []

    def start(self, act: Callable[[], object]) -> None:
        self.actors.append(Actor(len(self.actors), act))

    def this(self) -> Process:
        actor = threading.current_thread()
        return Process("here", "boot", "space", actor.number if isinstance(actor, Actor) else -1, 1)

    def is_gone(self, process: Process) -> bool:
        return process.pid >= 0 and self.actors[process.pid].over

    def end(self, process: Process) -> bool:
        # Not `kill`, which waits: the one that calls this is an actor, too.
        threading.Thread(target=self.actors[process.pid].kill, daemon=True).start()
        while not self.actors[process.pid].over:
            pass
        return True

    def finish(self) -> None:
        """Let everybody come to an end, in turn."""
        while any(not actor.over for actor in self.actors):
            for actor in self.actors:
                actor.step()
