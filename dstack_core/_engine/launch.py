"""Ask for a machine: intent before effect."""

from __future__ import annotations

import contextlib
import sys
import time

from dstack_core._engine.engine import Engine
from dstack_core._ledger.machines import gone, intend, launched
from dstack_core._ledger.records import MachineRecord
from dstack_core.errors import CapacityError, ConflictError, DstackError
from dstack_core.models import Launch, Requirements


def launch(engine: Engine, run: str, requirements: Requirements, number: int) -> MachineRecord | None:
    """Start a machine that can run a job with these requirements; the next offer when one has no capacity.

    Returns:
        Its record; None when somebody else starts the run's machine of that `number`.

    Raises:
        CapacityError: no offer fits, or none can be had now; the message says why.
        DstackError: whatever the backend has to say: wrong credentials, a wrong region.
    """
    store, backend = engine.store, engine.backend
    offers = backend.offers(requirements)
    reasons = list(offers.rejected)
    if offers.fitting and backend.distant:
        engine.prepare()  # before there is a record: the first time it takes a while
    for number, offer in enumerate(offers.fitting, number):  # noqa: B020  each try is a machine of its own
        try:
            machine = intend(store, run, offer, number, time.time()).value
        except ConflictError:
            return None
        try:
            handle = backend.launch(offer, _launch_of(engine, run, machine.id))
        except CapacityError as error:
            gone(store, run, machine.id, time.time())
            reasons.append(f"{offer.name}: {error}")
            continue
        except DstackError:
            with contextlib.suppress(DstackError):  # the one that is under way says more
                backend.terminate(machine.id, None)  # whatever came of it; and nobody need wait for it to come up
                gone(store, run, machine.id, time.time())
            raise
        launched(store, run, machine.id, handle)
        return machine
    raise CapacityError(f"no machine can be had: {'; '.join(reasons)}" if reasons else "no machine can be had")


def _launch_of(engine: Engine, run: str, machine: str) -> Launch:
    argv = (sys.executable, "-m", "dstack_core._runner", run, machine, engine.remote.name)
    env = {"DSTACK_MACHINE": machine}
    if engine.backend.distant:
        return engine.prepare().launch(machine, run, argv, env)
    return Launch(machine, run, argv, env)
