"""The way from here to a run's machine elsewhere: by OpenSSH, with this computer's key for the run, and with the host
key that the machine has written to the store."""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from dstack_core._cli.sshkeys import KEY, own_key, ssh_program
from dstack_core._ledger import documents
from dstack_core._ledger.entrances import Entrance, find_entrance
from dstack_core._ledger.machines import machine_key
from dstack_core._ledger.records import MachineRecord
from dstack_core.backend import Address, SupportsReach
from dstack_core.errors import CredentialsError, DstackError, PluginError, ReachError

if TYPE_CHECKING:
    from pathlib import Path

    from dstack_core._cli.context import Context

OPTIONS: Final = (
    "IdentitiesOnly=yes", "IdentityAgent=none", "PreferredAuthentications=publickey", "BatchMode=yes",
    "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "CheckHostIP=no", "UpdateHostKeys=no",
    "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ExitOnForwardFailure=yes",
    "ControlMaster=no", "ControlPath=none", "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no",
    "LogLevel=ERROR",
)  # fmt: skip
"""Of the user's own configuration nothing counts: it is about other machines."""
FAILED: Final = 255
"""Exit code of ssh for failures of its own."""
_WRONG_HOST: Final = re.compile(r"host key verification failed|no .* host key is known", re.I)
_REFUSED: Final = re.compile(r"permission denied", re.I)
_TAKEN: Final = re.compile(r"cannot listen|could not request local forwarding|address already in use", re.I)


class RefusedError(CredentialsError):
    """The machine does not take this computer's key; it may not have seen it yet."""


class PortTakenError(ReachError):
    """Somebody here listens at the port that was to lead there."""


class Way:
    """To one machine. Used by several threads."""

    def __init__(self, context: Context, run: str, machine: str) -> None:
        self._context = context
        self._run = run
        self.machine = machine

    @functools.cached_property
    def folder(self) -> Path:
        """Where ssh is to be started: its options name files there. From the first question on the machine takes our
        key. Raises as `own_key` does."""
        return own_key(self._context, self._run)

    def entrance(self) -> Entrance | None:
        """Where the machine is entered; None while it lets nobody in: it looks for keys every few seconds.

        Raises StoreError.
        """
        return find_entrance(self._context.store, self._run, self.machine)

    @contextlib.contextmanager
    def opened(self, entrance: Entrance) -> Iterator[Address]:
        """The way to its SSH server. Raises PluginError, and what `SupportsReach.reach` raises."""
        backend = self._context.backend
        if not isinstance(backend, SupportsReach):
            name = self._context.remote.backend
            raise PluginError(f"the backend {name} cannot tell where its machines are reached from here")
        record = documents.read(self._context.store, MachineRecord, machine_key(self._run, self.machine)).value
        with backend.reach(record.label, record.handle, entrance.port) as address:
            yield address

    def command(self, entrance: Entrance, address: Address, *options: str) -> list[str]:
        """ssh with everything but what is to be done there; to be started in `folder`."""
        known = f"known-{self.machine}"
        (self.folder / known).write_text(f"{self.machine} {entrance.host_key}\n")
        pinned = (f"UserKnownHostsFile={known}", f"HostKeyAlias={self.machine}")
        algorithm = f"HostKeyAlgorithms={entrance.host_key.split()[0]}"
        chosen = [word for option in (*OPTIONS, *pinned, algorithm) for word in ("-o", option)]
        where = ["-p", str(address.port), "-l", entrance.user]
        return [ssh_program("ssh"), "-F", "none", "-i", KEY, *chosen, *where, *options, address.host]

    def check(self, entrance: Entrance, address: Address) -> None:
        """Come there once, and do nothing. Raises as `explain` says."""
        command = [*self.command(entrance, address, "-T"), "true"]
        done = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            raise explain(done.stderr.decode(errors="replace"), address)


def remote_command(entrance: Entrance, words: Sequence[str]) -> str:
    """A command as the shell there takes it, with the dstack folder that its runner has."""
    return shlex.join(["env", f"DSTACK_HOME={entrance.home}", *words])


def explain(said: str, address: Address) -> DstackError:
    """What ssh's messages mean."""
    place = f"{address.host}:{address.port}"
    if _WRONG_HOST.search(said):
        return CredentialsError(
            f"who answers at {place} is not the machine of the run: it shows another host key",
            hint="somebody may be in between; nothing was sent there",
        )
    if _REFUSED.search(said):
        return RefusedError(
            f"the machine at {place} does not take this computer's key", hint="dstack machines; was it stopped?"
        )
    if _TAKEN.search(said):
        return PortTakenError("somebody here listens at that port")
    lines = [line for line in said.strip().splitlines() if line.strip()]
    reason = f": {lines[-1].strip()}" if lines else ""
    hint = "look at your network and at `dstack ps`"
    return ReachError(f"the machine cannot be reached at {place}{reason}", hint=hint)
