"""Work for other machines: a runner that sees some launches them, so that a run goes on with nobody looking."""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import Final

from dstack_core._engine.advance import advance
from dstack_core._engine.engine import Engine
from dstack_core._engine.view import RunView
from dstack_core.errors import CapacityError, DstackError, StoreError

USUAL: Final = 15.0
"""Seconds between two looks at the run's other machines, and at what they all have cost, if that is limited."""
CALM: Final = 60.0
"""The same while there is neither."""
SHORTEST: Final = 3.0
"""The same while there is work that this machine cannot do."""
PATIENCE: Final = 300.0
"""Seconds for which a machine that leaves goes on asking for one that can be had."""


class Relay:
    """Brings the run forward beside the runner, with a view of its own.

    Attributes:
        alone: whether the run had no other machine at the last look.
    """

    def __init__(self, engine: Engine, run: str, machine: str) -> None:
        self._engine = engine
        self._run = run
        self._machine = machine
        self.alone = False
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._watch, name="relay", daemon=True)
        self._thread.start()

    def wanted(self) -> None:
        """There is work that this machine cannot do."""
        self._wanted.set()

    def leave(self, patience: float) -> None:
        """The last look, after this machine's record says that it is gone: again and again for `patience` seconds at
        most, while no machine can be had. From then on, the next command brings the run forward."""
        self._stopped.set()
        self._wanted.set()
        self._thread.join()
        deadline = time.monotonic() + min(patience, PATIENCE)
        while not self._advanced() and time.monotonic() + USUAL < deadline:
            time.sleep(USUAL)

    def _watch(self) -> None:
        while not self._stopped.wait(SHORTEST):
            self._wanted.wait(self._pause() - SHORTEST)
            if not self._stopped.is_set():
                self._wanted.clear()
                self._advanced()

    @functools.cached_property
    def _view(self) -> RunView:
        """Read by the thread that needs it: the first job does not wait for that."""
        return RunView(self._engine.store, self._run)

    def _pause(self) -> float:
        return CALM if self.alone and self._view.run.budget is None else USUAL

    def _advanced(self) -> bool:
        """Whether there is no use in trying again."""
        try:
            advance(self._engine, self._view)
            machines = self._view.machines or ()
            self.alone = all(one.status == "gone" or one.id == self._machine for one in machines)
        except (CapacityError, StoreError) as error:
            self._say(error)
            return False
        except DstackError as error:  # perhaps machines may launch none here; then commands do
            self._say(error)
        return True

    def _say(self, error: DstackError) -> None:
        if str(error) != self._said:
            self._said = str(error)
            print(f"dstack: no other machine: {error}", file=sys.stderr, flush=True)  # noqa: T201  the machine's log
