"""What a runner does on a machine that is another computer, beside running jobs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Final

from dstack_core._engine.engine import Engine
from dstack_core._engine.view import RunView
from dstack_core._runner.life import Life
from dstack_core._runner.reception import Reception
from dstack_core._runner.relay import Relay
from dstack_core.backend import SupportsNotice

PAUSE: Final = 5.0
"""Seconds between two looks for a notice."""
LOOK: Final = 2.0
"""Seconds between a runner's looks at the run: a far store takes its time for each, and money."""
PATIENCE: Final = 120.0
"""Seconds for which a machine that costs money waits for work while others have some: about as long as the next one
would take to start."""


class Outpost:
    """Keeps the machine alive, has other machines launched, lets people in, and heeds the notice of its end.

    Args:
        view: of the runner, which keeps it up to date.
        interrupt: called when the machine is to do nothing more.
    """

    def __init__(self, engine: Engine, view: RunView, machine: str, interrupt: Callable[[], None]) -> None:
        run = view.run.name
        self._interrupt = interrupt
        self._cut_off = False
        self._stopped = threading.Event()
        self.relay = Relay(engine, run, machine)
        self._life = Life(engine.store, run, machine, self._lost)
        self._reception = Reception(engine.store, run, machine, engine.remote.name, lambda: view.run.callers)
        if isinstance(engine.backend, SupportsNotice):
            threading.Thread(target=self._heed, args=(engine.backend,), name="notice", daemon=True).start()

    def quiesce(self) -> None:
        """The runner has ended: no more signs of life, so that its record may say so."""
        self._stopped.set()
        self._reception.close()
        self._life.stop()

    def leave(self) -> None:
        """Have launched what the run needs now that this machine's record says that it is gone."""
        if not self._cut_off:
            self.relay.leave(self._life.lease / 2)

    def _lost(self, reason: str) -> None:
        self._cut_off = True
        self._end(reason)

    def _heed(self, backend: SupportsNotice) -> None:
        while not self._stopped.wait(PAUSE):
            when = backend.notice()
            if when is not None:
                self._end("it will be taken away")
                return

    def _end(self, reason: str) -> None:
        print(f"dstack: this machine does no more: {reason}", file=sys.stderr, flush=True)  # noqa: T201  its log
        self._interrupt()
