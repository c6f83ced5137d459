"""Instances as moto has them, and machines that live and die with them."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from cloud_inbound import public_address
from cloud_machines import REBOOT_CODES, Machines
from cloud_metadata import MetadataServer
from moto.ec2.models import ec2_backends

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass
class Record:
    """What we know of an instance."""

    instance: Any
    phase: str = "starting"
    """The machine's: starting, running, rebooting, restarting, stopping, stopped, lost, ending, gone."""
    address: str = ""
    made: bool = False
    console: str = ""
    """What it had said, once it is gone."""
    hidden: int = 0
    """So many calls still do not see it."""
    notice: float = 0.0
    """When it will be taken, in seconds of the epoch; 0 when nobody said so."""
    market: dict[str, str] = field(default_factory=dict)
    busy: threading.Lock = field(default_factory=threading.Lock)
    """Held while the machine is made, started or ended."""

    @property
    def id(self) -> str:
        return str(self.instance.id)

    @property
    def account(self) -> str:
        return str(self.instance.owner_id)

    def show(self, state: str) -> None:
        """What AWS says of its state."""
        self.instance._state.name, self.instance._state.code = state, _CODES[state]

    def explain(self, code: str, message: str) -> None:
        """Why it is no longer running."""
        self.instance.state_reason.code, self.instance.state_reason.message = code, f"{code}: {message}"


class Instances:
    """All instances. `state` guards what moto has; it is never held while a machine is worked on."""

    def __init__(self, state: threading.RLock) -> None:
        self._state = state
        self.records: dict[str, Record] = {}
        self.machines: Machines
        self.metadata: MetadataServer

    def adopt(self, instance: Any) -> Record:
        """Know an instance that moto has just made."""
        record = self.records[instance.id] = Record(instance)
        instance.nics[0].public_ip = public_address()  # one that leads somewhere
        if not instance.security_groups:
            default = instance.ec2_backend.get_default_security_group(instance.vpc_id)
            instance.security_groups = [default] if default else []
        record.show("pending")
        return record

    def follow(self, account: str, region: str) -> None:
        """After a call: do to machines what moto did to instances. Whoever calls holds the lock."""
        for instance in ec2_backends[account][region].all_instances():
            record = self.records.get(instance.id) or self.adopt(instance)
            self._follow(record, instance._state.name)

    def _follow(self, record: Record, state: str) -> None:
        if record.phase == "starting" and not record.made and state in ("pending", "running"):
            record.show("pending")
            record.made = True
            _begin(self._boot, record)
        elif state == "running" and record.phase == "stopped":
            record.phase = "starting"
            record.show("pending")
            _begin(self._boot, record)
        elif state == "stopped" and record.phase in ("starting", "running", "rebooting", "restarting"):
            record.phase = "stopping"
            record.show("stopping")
            _begin(self._stop, record)
        elif state == "terminated" and record.phase != "gone":
            record.show("shutting-down")
            if record.phase != "ending":
                record.phase = "ending"
                _begin(self._end, record)

    # --- in threads ---

    def _boot(self, record: Record) -> None:
        with record.busy:
            with self._state:
                if record.phase not in ("starting", "restarting"):
                    return  # ended before it began
                record.phase = "starting"
            if record.id in self.machines.names():
                address = self.machines.start(record.id)
            else:
                address = self.machines.create(record.id, record.instance.private_ip, {"account": record.account})
            with self._state:
                record.address = address
                self.metadata.machines[address] = record.id
                if record.phase == "starting":
                    record.phase = "running"
                    record.show("running")

    def _stop(self, record: Record) -> None:
        with record.busy:
            self.machines.stop(record.id)
            self._stopped(record)

    def _stopped(self, record: Record) -> None:
        with self._state:
            self._forget_address(record)
            if record.phase == "stopping":
                record.phase = "stopped"
                record.show("stopped")

    def _forget_address(self, record: Record) -> None:
        """Its address is another machine's by now, perhaps: Docker gives it away as soon as a container stops."""
        if self.metadata.machines.get(record.address) == record.id:
            del self.metadata.machines[record.address]

    def _end(self, record: Record) -> None:
        with record.busy:
            self.machines.kill(record.id)
            with contextlib.suppress(Exception):  # it may never have been made
                record.console = self.machines.console(record.id)
            self.machines.remove(record.id)
            with self._state:
                self._forget_address(record)
                record.phase = "gone"
                record.show("terminated")

    def exited(self, name: str, code: int) -> None:
        """A machine stopped running."""
        with self._state:
            record = self.records.get(name)
            if record is None or record.phase not in ("starting", "running"):
                return  # as it was told to
            if code in REBOOT_CODES:
                record.phase = "restarting"  # not `starting`: it may have been so fast that its start is not over
                _begin(self._boot, record)
                return
            if record.instance.instance_initiated_shutdown_behavior == "terminate":
                self._take(record, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
                return
            record.instance.stop()
            record.explain("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
            record.phase = "stopping"
            self._stopped(record)

    # --- by the cloud itself ---

    def reboot(self, name: str) -> None:
        """As RebootInstances: shut down from inside, then start."""
        record = self.records[name]
        with self._state:
            if record.phase != "running":
                return
            record.phase = "rebooting"
        with record.busy:
            self.machines.stop(record.id)
            record.phase = "starting" if record.phase == "rebooting" else record.phase
        self._boot(record)

    def lose(self, name: str, told: bool = True) -> None:
        """The host of an instance fails. `told` False: and AWS goes on saying that it runs."""
        record = self.records[name]
        with self._state:
            record.phase = "lost"
        self.machines.kill(name)
        if told:
            self.take(name, "Server.InternalError", "Internal error on launch or on the host")

    def warn(self, name: str, seconds: float) -> None:
        """Say that a spot instance will be taken, and take it then."""
        with self._state:
            self.records[name].notice = time.time() + seconds
        timer = threading.Timer(seconds, self.reclaim, [name])
        timer.daemon = True
        timer.start()

    def reclaim(self, name: str) -> None:
        """Take a spot instance."""
        self.take(name, "Server.SpotInstanceTermination", "Instance was terminated as there is no Spot capacity")

    def take(self, name: str, code: str, message: str) -> None:
        """End an instance that did not ask for it."""
        with self._state:
            self._take(self.records[name], code, message)

    def _take(self, record: Record, code: str, message: str) -> None:
        if record.phase in ("ending", "gone"):
            return
        record.instance.terminate()
        record.explain(code, message)
        self._follow(record, "terminated")

    def console(self, name: str) -> str:
        """What an instance has said."""
        record = self.records[name]
        return record.console or (self.machines.console(name) if record.address else "")

    # --- what is seen ---

    @contextlib.contextmanager
    def seen(self, account: str, region: str, counts: bool) -> Any:
        """Without the instances that cannot be seen yet; `counts`: this is a call that might have seen them."""
        reservations = ec2_backends[account][region].reservations
        before = dict(reservations)
        for key, reservation in before.items():
            hidden = [self.records[one.id] for one in reservation.instances if self.records[one.id].hidden]
            if hidden:
                del reservations[key]
            for record in hidden if counts else []:
                record.hidden -= 1
        try:
            yield
        finally:
            made = {key: value for key, value in reservations.items() if key not in before}
            reservations.clear()
            reservations.update(before | made)


def _begin(work: Any, record: Record) -> None:
    threading.Thread(target=work, args=(record,), daemon=True).start()
