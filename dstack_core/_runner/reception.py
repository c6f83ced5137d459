"""People on a machine that is another computer: they are let in once somebody has left a public key in the store."""

from __future__ import annotations

import getpass
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from dstack_core._ledger.entrances import Entrance, admitted, announce, public_key
from dstack_core._runner.sshd import Sshd
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import DstackError
from dstack_core.home import dstack_home

LOOK: Final = 0.5
"""Seconds between two looks at whether somebody has called, and whether the server runs: neither asks the store."""
REST: Final = 5.0
"""Seconds after a look that failed."""
SELDOM: Final = 60.0
"""Seconds between two looks for keys, each of which is one listing, if nobody has called."""


class Reception:
    """Looks for keys, and has an SSH server as soon as there is one; nothing listens before.

    Args:
        remote: what this machine calls the remote.
        called: how often keys were left, as far as the runner knows.
    """

    def __init__(self, store: ArtifactStore, run: str, machine: str, remote: str, called: Callable[[], int]) -> None:
        self._store = store
        self._run = run
        self._machine = machine
        self._remote = remote
        self._user = getpass.getuser()
        self._sshd = Sshd(dstack_home() / "ssh", self._user)
        self._called = called
        self._heard = -1
        self._looked = 0.0
        self._keys: frozenset[str] = frozenset()
        self._announced: Entrance | None = None
        self._said = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reception", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody is let in any more."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            while not self._stopped.is_set():
                pause = LOOK
                try:
                    self._look()
                except (DstackError, OSError, subprocess.SubprocessError) as error:  # the jobs run on without it
                    self._say(str(error))
                    pause = REST
                self._stopped.wait(pause)
        finally:
            self._sshd.stop()

    def _look(self) -> None:
        called = self._called()
        if called != self._heard or time.monotonic() - self._looked > SELDOM:
            self._look_for_keys()
            self._heard, self._looked = called, time.monotonic()
        if self._keys and not self._sshd.runs:
            self._sshd.start()
        if self._sshd.runs:
            self._announce()

    def _look_for_keys(self) -> None:
        keys = admitted(self._store, self._run)
        if keys != self._keys:
            found = [key for name in sorted(keys) if (key := public_key(self._store, name))]
            self._sshd.admit(found)
            self._keys = keys

    def _announce(self) -> None:
        home, python = str(dstack_home()), sys.executable
        here = Entrance(self._machine, self._sshd.port, self._sshd.host_key, self._user, home, python, self._remote)
        if here != self._announced:
            announce(self._store, self._run, here)
            self._announced = here

    def _say(self, problem: str) -> None:
        if problem != self._said:
            self._said = problem
            print(f"dstack: nobody can be let in: {problem}", file=sys.stderr, flush=True)  # noqa: T201  its log
