"""Containers as machines: made, started, killed, cut off, and watched. Knows no cloud."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloud_network
import docker
from cloud_engine import NETWORK, MachineEngine
from docker.errors import APIError, NotFound
from docker.types import EndpointConfig

GUEST = Path(__file__).with_name("cloud_guest")
REBOOT_CODES = (64, 129)
"""How a machine ends that wants to be started again: vm-init's code, and what the kernel makes of `reboot(2)`."""
_LINKS = ("shutdown", "poweroff", "halt", "reboot")
_DROPPED = ["SYS_RESOURCE", "SYS_TIME", "SYS_MODULE"]  # the first is lacking anyway; the others reach the real machine


@dataclass(frozen=True)
class Done:
    """How a command inside a machine ended."""

    code: int
    out: str


@dataclass
class _Run:
    """The time from a start of a machine to its end."""

    told: bool = False
    """Whether the end came from outside."""


class Machines:
    """All machines of an engine, by name. `on_exit` is called with name and exit code when one ends by itself."""

    def __init__(self, engine: MachineEngine, disk: Path, images: Path, on_exit: Callable[[str, int], None]) -> None:
        self._engine = engine
        self._images = images
        self._on_exit = on_exit
        self._runs: dict[str, _Run] = {}
        self._client = docker.DockerClient(base_url=engine.host, version="auto", timeout=120, max_pool_size=64)
        self._disk = threading.Thread(target=self._import, args=(disk,), daemon=True)
        self._disk.start()  # it takes some seconds, and the first machine may be a while

    def _import(self, disk: Path) -> None:
        self._engine.command("import", "-", "machine:latest", stdin=disk)

    # --- life ---

    def create(self, name: str, address: str, labels: dict[str, str]) -> str:
        """Make a machine, and say which address it has: the one that is wanted, unless another machine has it."""
        self._disk.join()
        try:
            made = self._make(name, address, labels)
            made.start()
        except APIError as error:
            if "ddress" not in str(error):
                raise
            self.remove(name)
            made = self._make(name, None, labels)
            made.start()
        self._watch(name)
        return self.address(name)

    def start(self, name: str) -> str:
        """Start a machine again that stands still; its disk has what was on it."""
        self._client.containers.get(name).start()
        self._watch(name)
        return self.address(name)

    def stop(self, name: str, grace: int = 10) -> None:
        """Shut a machine down from inside; after `grace` seconds, pull the plug."""
        self._tell(name)
        with contextlib.suppress(NotFound):
            self._client.containers.get(name).stop(timeout=grace)

    def kill(self, name: str) -> None:
        """Pull the plug of a machine, if it runs."""
        self._tell(name)
        with contextlib.suppress(NotFound, APIError):
            self._client.containers.get(name).kill()

    def remove(self, name: str) -> None:
        """Pull the plug and throw the disk away."""
        self._tell(name)
        with contextlib.suppress(NotFound):
            self._client.containers.get(name).remove(force=True, v=True)

    def close(self) -> None:
        """Remove them all."""
        if names := self.names():
            self._engine.command("rm", "--force", "--volumes", *names)

    def _make(self, name: str, address: str | None, labels: dict[str, str]) -> Any:
        api = self._client.api
        binds = [f"{GUEST}/power.py:/usr/sbin/{link}:ro" for link in _LINKS]
        binds += [f"{GUEST}/vm_init.py:/opt/box/vm-init:ro", f"{self._images}:/opt/box/images:ro"]
        host = api.create_host_config(
            binds=binds, cap_add=["ALL"], cap_drop=_DROPPED, tmpfs={"/run": "exec"},
            security_opt=["seccomp=unconfined", "apparmor=unconfined"], device_cgroup_rules=["a *:* rwm"],
            sysctls={"net.ipv4.conf.all.route_localnet": "1"}, network_mode=NETWORK,
        )  # fmt: skip
        host |= {"MaskedPaths": [], "ReadonlyPaths": []}
        plugged = {NETWORK: EndpointConfig("1.41", ipv4_address=address)}
        made = api.create_container(
            "machine:latest", ["/opt/box/vm-init"], name=name, hostname=name, host_config=host, labels=labels,
            volumes=["/var/lib/docker"], networking_config={"EndpointsConfig": plugged},
        )  # fmt: skip
        return self._client.containers.get(made["Id"])

    def _tell(self, name: str) -> None:
        """What ends now ends because we say so."""
        self._runs.setdefault(name, _Run()).told = True

    def _watch(self, name: str) -> None:
        run = self._runs[name] = _Run()

        def wait() -> None:
            try:
                code = self._client.api.wait(name, timeout=None)["StatusCode"]
            except (NotFound, APIError, OSError):
                return  # removed, or the engine is gone
            if not run.told:
                self._on_exit(name, code)

        threading.Thread(target=wait, daemon=True).start()

    # --- from outside ---

    def names(self) -> list[str]:
        """Of all machines that there are, running or not."""
        return [found["Names"][0].lstrip("/") for found in self._client.api.containers(all=True)]

    def address(self, name: str) -> str:
        networks = self._client.api.inspect_container(name)["NetworkSettings"]["Networks"]
        return str(networks[NETWORK]["IPAddress"])

    def console(self, name: str) -> str:
        """What the machine has said on its console, user data included."""
        return str(self._client.api.logs(name).decode(errors="replace"))

    def run(self, name: str, command: list[str]) -> Done:
        """Run a command inside, as root."""
        api = self._client.api
        started = api.exec_create(name, command)["Id"]
        out = api.exec_start(started)
        return Done(api.exec_inspect(started)["ExitCode"], bytes(out).decode(errors="replace"))

    def plug(self, name: str, plugged: bool) -> None:
        """Pull the machine's network cable, or plug it in again."""
        cloud_network.set_link(self._engine.pid, self._pid(name), plugged)

    def _pid(self, name: str) -> int:
        return int(self._client.api.inspect_container(name)["State"]["Pid"])
