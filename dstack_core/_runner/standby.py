"""A machine whose run is over waits for another, if its remote says so."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Final

from dstack_core._engine.elsewhere import KIND
from dstack_core._ledger import documents
from dstack_core._ledger.documents import Document
from dstack_core._ledger.idle import IdleMachine, end, forget, look, offer_itself
from dstack_core._ledger.machines import machine_key
from dstack_core._ledger.records import MachineRecord
from dstack_core._ledger.waiting import affordable, charge
from dstack_core._runner.life import LEASE, extend_life
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError, StoreError

LOOK: Final = 2.0
"""Seconds between looks: how long the next run waits for a machine that waits for it."""
MINUTE: Final = 60.0
"""Seconds between two records of what the wait has cost so far."""
GRACE: Final = 60.0
"""Seconds in which a run that has taken the machine has its record of it written."""


class Standby:
    """One wait. `interrupted` says whether the machine is to do nothing more."""

    def __init__(self, store: ArtifactStore, machine: MachineRecord, interrupted: Callable[[], bool]) -> None:
        self._store = store
        self._machine = machine
        self._interrupted = interrupted
        self._lease = float(os.environ[LEASE])
        self._taken: tuple[str, float] = ("", 0.0)
        self._charged = time.monotonic()
        self._until = math.inf

    def wait(self, idle: float) -> tuple[str, str] | None:
        """For so many seconds; the run that has taken the machine, and the machine's id there; None: it is to end."""
        print(f"dstack: waiting for another run, {idle:g} s", file=sys.stderr, flush=True)  # noqa: T201  its log
        now = time.time()
        record, label = self._newest(), self._machine.label
        idle = min(idle, affordable(self._store, record.run, record.offer.price, now))
        offered = IdleMachine(label, record.run, record.offer, record.handle, os.environ[KIND], now, now + idle)
        document = offer_itself(self._store, offered)
        following = self._wait(document)
        self._charge(force=True)
        return following

    def _wait(self, document: Document[IdleMachine]) -> tuple[str, str] | None:
        label = self._machine.label
        while True:
            try:
                if self._interrupted() or time.time() > document.value.until:
                    end(self._store, document)
                    return None
                found = look(self._store, label)
                if found is None or self._abandoned(found):
                    return None
                document = found
                extend_life(self._lease)
                self._charge()
                if following := self._following(document):
                    forget(self._store, label)
                    return following
            except ConflictError:
                continue  # it was just taken: the next look tells by whom
            except StoreError:
                pass  # until the machine's life is over, at most: nobody extends it now
            time.sleep(LOOK)

    def _newest(self) -> MachineRecord:
        """Its record with its handle, which whoever launched it may have learned after its runner came up."""
        try:
            key = machine_key(self._machine.run, self._machine.id)
            return documents.read(self._store, MachineRecord, key).value
        except (NotFoundError, StoreError):
            return self._machine

    def _following(self, document: Document[IdleMachine]) -> tuple[str, str] | None:
        """Who has taken it, once there is a record that says so."""
        run, _, machine = document.value.taken.partition(" ")
        if not machine:
            return None
        try:
            taken = documents.read(self._store, MachineRecord, machine_key(run, machine)).value
        except NotFoundError:
            return None
        self._until = taken.created
        return run, machine

    def _charge(self, *, force: bool = False) -> None:
        """Now and then, so that little is forgotten when the machine is lost."""
        if not force and time.monotonic() < self._charged + MINUTE:
            return
        self._charged = time.monotonic()
        with contextlib.suppress(StoreError):
            charge(self._store, self._machine.run, self._machine.id, min(self._until, time.time()))

    def _abandoned(self, document: Document[IdleMachine]) -> bool:
        """Whether it was taken long ago by a run that has no record of it: whoever did that has died in between."""
        taken = document.value.taken
        if taken != self._taken[0]:
            self._taken = (taken, time.monotonic())
        return bool(taken) and time.monotonic() - self._taken[1] > GRACE
