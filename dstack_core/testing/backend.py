"""What every backend must do. Subclass `BackendSuite`, override `backend`; perhaps `runner`."""

from __future__ import annotations

import functools
import json
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import Final

import pytest

from dstack_core.backend import Address, Backend, SupportsLeftovers, SupportsNotice, SupportsReach
from dstack_core.errors import ReachError
from dstack_core.models import Gpu, Launch, Offer, Requirements
from dstack_core.testing.waiting import until

GREETER: Final = 22222
"""A port that no machine uses."""
_GREET: Final = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
while True:
    came, _ = server.accept()
    came.sendall(b"SSH-2.0-greeter\\r\\n")
    came.close()
"""


class Machines:
    """Launches machines, and terminates whatever a test left."""

    def __init__(self, backend: Backend, offer: Offer) -> None:
        self.backend = backend
        self._offer = offer
        self._ids: list[str] = []

    def launch(self, machine: str, argv: Sequence[str]) -> str:
        """Launch a machine whose runner is `argv`; its handle."""
        self._ids.append(machine)
        launch = Launch(machine, "test-run-1", tuple(argv), {"DSTACK_MACHINE": machine}, store="test-store")
        return self.backend.launch(self._offer, launch)

    def close(self) -> None:
        """End all."""
        for machine in self._ids:
            self.backend.terminate(machine, None)


class BackendSuite:
    """Tests of the contract in `dstack_core.backend`. They start real machines: mind the bill.

    Attributes:
        patience: seconds until a machine is up, or gone.
    """

    patience = 30.0

    @pytest.fixture
    def backend(self) -> Backend:
        """Override: the backend under test."""
        raise NotImplementedError("override the fixture `backend`")

    def runner(self, machine: str, seconds: float) -> Sequence[str]:
        """Override if Python is not there: a command that lives for `seconds`, with `machine` among its arguments."""
        return (sys.executable, "-c", "import sys, time; time.sleep(float(sys.argv[1]))", str(seconds), machine)

    def greeter(self, machine: str, port: int) -> Sequence[str]:
        """Override if Python is not there: a command that greets with `SSH-` whoever connects, `machine` among its
        arguments."""
        return ("python3", "-c", _GREET, str(port), machine)

    @pytest.fixture
    def machines(self, backend: Backend) -> Iterator[Machines]:
        """Launches machines; ends them with the test."""
        machines = Machines(backend, backend.offers(Requirements()).fitting[0])
        yield machines
        machines.close()

    @pytest.fixture
    def machine(self) -> str:
        """An id that no machine has."""
        return uuid.uuid4().hex

    def test_no_demand_is_satisfied(self, backend: Backend) -> None:
        """By offers that are all there is to know."""
        offers = backend.offers(Requirements())
        assert offers.fitting
        for offer in offers.fitting:
            assert offer.backend
            assert offer.name
            assert offer.cpu > 0
            assert offer.memory > 0
            assert offer.price >= 0

    def test_offers_satisfy_the_demand(self, backend: Backend) -> None:
        """All of it."""
        for offer in backend.offers(Requirements(cpu=1, memory=1 << 20)).fitting:
            assert offer.cpu >= 1
            assert offer.memory >= 1 << 20

    @pytest.mark.parametrize(
        "wanted",
        [Requirements(cpu=1e6), Requirements(memory=1 << 60), Requirements(gpu=Gpu(10**6)),
         Requirements(gpu=Gpu(1, "No Such GPU"))],
        ids=["cpu", "memory", "gpus", "gpu name"],
    )  # fmt: skip
    def test_what_nobody_has_is_refused_in_words(self, backend: Backend, wanted: Requirements) -> None:
        """With a reason for people."""
        offers = backend.offers(wanted)
        assert not offers.fitting
        assert offers.rejected
        assert all(": " in reason and "\n" not in reason for reason in offers.rejected)

    def test_a_machine_lives(self, machines: Machines, machine: str) -> None:
        """Launched, up, terminated, gone."""
        backend = machines.backend
        handle = machines.launch(machine, self.runner(machine, 600))
        assert json.loads(json.dumps(handle)) == handle
        until(lambda: backend.state(machine, handle) == "up", "the machine was up", self.patience)
        assert backend.state(machine, None) == "up"
        assert machine in backend.machines()
        backend.terminate(machine, handle)
        until(lambda: backend.state(machine, handle) == "gone", "the machine was gone", self.patience)
        assert backend.state(machine, None) == "gone"
        assert machine not in backend.machines()
        backend.terminate(machine, handle)

    def test_launching_twice_gives_one_machine(self, machines: Machines, machine: str) -> None:
        """The id is the idempotency token."""
        handles = [machines.launch(machine, self.runner(machine, 600)) for _ in range(2)]
        assert list(machines.backend.machines()).count(machine) == 1
        # A handle may say more than which machine it is, such as when it was launched: both are good for that one.
        for handle in handles:
            assert machines.backend.state(machine, handle) in ("starting", "up")

    def test_a_machine_whose_launch_was_cut_short_is_found(self, machines: Machines, machine: str) -> None:
        """By its label: nobody has its handle."""
        machines.launch(machine, self.runner(machine, 600))
        assert machines.backend.state(machine, None) in ("starting", "up")
        machines.backend.terminate(machine, None)
        until(lambda: machines.backend.state(machine, None) == "gone", "the machine was gone", self.patience)

    def test_a_machine_ends_with_its_runner(self, machines: Machines, machine: str) -> None:
        """By itself: nobody needs to look."""
        handle = machines.launch(machine, self.runner(machine, 0.1))
        until(lambda: machines.backend.state(machine, handle) == "gone", "the machine was gone", self.patience)
        assert machine not in machines.backend.machines()

    def test_what_never_was_is_gone(self, backend: Backend, machine: str) -> None:
        """And can be terminated."""
        assert backend.state(machine, None) == "gone"
        backend.terminate(machine, None)
        assert machine not in backend.machines()

    def test_ids_are_exact(self, machines: Machines, machine: str) -> None:
        """Ending `x-1` leaves `x-10`, and a handle helps nobody to the wrong machine."""
        backend = machines.backend
        longer = machine + "0"
        machines.launch(longer, self.runner(longer, 600))
        handle = machines.launch(machine, self.runner(machine, 600))
        until(lambda: backend.state(longer, None) == "up", "the machine was up", self.patience)
        backend.terminate(machine, handle)
        until(lambda: backend.state(machine, handle) == "gone", "the machine was gone", self.patience)
        assert backend.state(longer, None) == "up"

    def test_what_is_there_is_found_by_its_labels_and_ended(self, machines: Machines, machine: str) -> None:
        """If the backend can: see `SupportsLeftovers`."""
        backend = machines.backend
        if not isinstance(backend, SupportsLeftovers):
            pytest.skip("the backend does not tell what it has")
        machines.launch(machine, self.runner(machine, 600))
        until(lambda: backend.state(machine, None) == "up", "the machine was up", self.patience)
        (found,) = [one for one in backend.leftovers() if one.machine == machine and one.kind == "machine"]
        assert (found.run, found.store) == ("test-run-1", "test-store")
        assert found.price >= 0
        backend.end(found)
        until(lambda: backend.state(machine, None) == "gone", "the machine was gone", self.patience)
        backend.end(found)
        assert machine not in [one.machine for one in backend.leftovers()]

    def test_what_is_no_machine_is_not_taken_away(self, backend: Backend) -> None:
        """Nor does it take long to say so, or fail: a runner asks again and again."""
        if not isinstance(backend, SupportsNotice):
            pytest.skip("not a SupportsNotice")
        assert backend.notice() is None

    def test_a_machine_is_reached_while_somebody_wants_to(self, machines: Machines, machine: str) -> None:
        """And by nobody afterwards, nor is anything left of it; of what is not there, it says so."""
        backend = machines.backend
        if not isinstance(backend, SupportsReach):
            pytest.skip("not a SupportsReach")
        handle = machines.launch(machine, self.greeter(machine, GREETER))
        until(lambda: backend.state(machine, handle) == "up", "the machine was up", self.patience)
        for again in (handle, None):
            with backend.reach(machine, again, GREETER) as address:
                with backend.reach(machine, again, GREETER) as other:
                    until(functools.partial(_greeted, other), "the machine answered", self.patience)
                until(lambda: _greeted(address), "the machine answered", self.patience)
            assert not _greeted(address)
            if isinstance(backend, SupportsLeftovers):
                assert not [one for one in backend.leftovers() if one.machine == machine and one.kind == "rule"]
        with pytest.raises(ReachError), backend.reach(uuid.uuid4().hex, None, GREETER):
            pass

    @pytest.mark.parametrize("handle", ["", "nonsense", "1", "0:0:0", "i-0"])
    def test_a_handle_that_says_nothing_does_no_harm(self, backend: Backend, machine: str, handle: str) -> None:
        """Records are old, or were edited."""
        assert backend.state(machine, handle) in ("gone", "unknown")
        backend.terminate(machine, handle)


def _greeted(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
