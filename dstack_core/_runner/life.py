"""A machine that is another computer lives as long as its runner can reach the store; see `dstack_core.cloud.boot`."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dstack_core._engine.bundle import VARIABLE, touch
from dstack_core._ledger.machines import beat
from dstack_core._runner.host import LIFE
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, StoreError

LEASE: Final = "DSTACK_LEASE"
"""Environment: seconds by which a sign of life extends that."""
LONGEST: Final = 30.0
"""Seconds between two signs of life; a quarter of the lease, if that is shorter."""


TOUCH: Final = 3600.0
"""Seconds between two notes that the bundle is used; it is kept for much longer."""


def extend_life(lease: float) -> None:
    """By so many seconds from now: what the machine was told before counts until the new word is there as a whole."""
    file = Path(os.environ[LIFE])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    draft = file.with_suffix(".new")
    draft.write_text(f"{int(uptime + lease)}\n")
    draft.replace(file)


class Life:
    """Gives signs of life in the store, and for each that is stored, extends the machine's life.

    Args:
        lost: told, once, when the store could not be reached for the lease, or the machine was given up: others do its
            jobs then. The thread ends with that.

    Attributes:
        lease: seconds by which a sign of life extends the machine's.
    """

    def __init__(self, store: ArtifactStore, run: str, machine: str, lost: Callable[[str], None]) -> None:
        self._store = store
        self._run = run
        self._machine = machine
        self._lost = lost
        self.lease = float(os.environ[LEASE])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="life", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more signs of life; the machine has its lease to do what is left."""
        self._stopped.set()
        self._thread.join()

    def _live(self) -> None:
        last = time.monotonic()
        touched: float | None = None
        document = None
        while not self._stopped.is_set():
            now = time.monotonic()
            try:
                document = beat(self._store, self._run, self._machine, document)
                extend_life(self.lease)
                last = now
                if touched is None or now - touched > TOUCH:
                    self._touch_bundle()
                    touched = now
            except ConflictError as error:
                self._lost(str(error))
                return
            except StoreError as error:
                if time.monotonic() - last > self.lease:
                    self._lost(f"the store cannot be reached: {error}")
                    return
            self._stopped.wait(min(self.lease / 4, LONGEST))

    def _touch_bundle(self) -> None:
        """The next machine is to start from it, too."""
        with contextlib.suppress(StoreError):
            touch(self._store, os.environ.get(VARIABLE, "").partition(" ")[0])
