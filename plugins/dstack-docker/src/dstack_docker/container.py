"""A job's container as the engine is asked for it: what it may see, use and do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from docker.types import DeviceRequest, LogConfig, Mount

from dstack_core.errors import JobError
from dstack_core.executor import Task
from dstack_core.home import dstack_home
from dstack_docker.choices import Choices, split_mount
from dstack_docker.engine import LABEL, Engine
from dstack_docker.launcher import CACHE, CHECKOUT, SCRATCH, basic_environment

CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What root in a container may do: what `apt-get install` needs. Everybody else there may do nothing of the kind."""
PROCESSES: Final = 16384
"""Processes and threads of one job, at most: a fork bomb ends there, many data loaders do not."""


@dataclass(frozen=True)
class Containers:
    """Makes containers for attempts."""

    engine: Engine
    choices: Choices

    @property
    def user(self) -> str | None:
        """Who runs the job, as UID:GID; None: who the image says."""
        if self.choices.user == "image":
            return None
        # In a rootless engine, root is the very user who called.
        return "0:0" if self.engine.is_rootless else f"{os.geteuid()}:{os.getegid()}"

    def create(
        self, task: Task, image: str, command: Sequence[str], *, user: str | None = None, helps: bool = False
    ) -> str:
        """The id of a new container that will run `command`. `helps`: it prepares a job, or clears up after it.

        Raises:
            JobError: the engine does not make such a container.
        """
        with self.engine.speaking(f"the engine makes no container of {task.image or image}"):
            made = self.engine.api.create_container(
                image,
                list(command[1:]),
                entrypoint=list(command[:1]),
                name=None if helps else f"dstack-{task.label}",
                labels={LABEL: task.label},
                user=user or self.user,
                environment=self._environment(task),
                working_dir="/" if helps else CHECKOUT,
                ports=[] if helps else list(task.inner_ports),
                healthcheck={"test": ["NONE"]},
                host_config=self._host_config(task, helps),
            )
        return str(made["Id"])

    def _environment(self, task: Task) -> dict[str, str]:
        return basic_environment(_caller(), self.choices.env)

    def _host_config(self, task: Task, helps: bool) -> dict[str, Any]:
        asked = task.requirements
        limits: dict[str, Any] = {"shm_size": asked.shm_size} if asked.shm_size else {}
        if asked.cpu:
            limits["nano_cpus"] = round(min(asked.cpu, float(self.engine.about["NCPU"])) * 1e9)
        if asked.memory:
            limits |= {"mem_limit": asked.memory, "memswap_limit": asked.memory}  # no swap beside it
        if task.gpus and not helps:
            limits["device_requests"] = [DeviceRequest(device_ids=list(map(str, task.gpus)), capabilities=[["gpu"]])]
        return dict(
            self.engine.api.create_host_config(
                mounts=self._mounts(task),
                network_mode=self.choices.network,
                port_bindings={} if helps else _bindings(task),
                init=True,
                pids_limit=PROCESSES,
                cap_drop=["ALL"],
                cap_add=list(CAPABILITIES),
                security_opt=["no-new-privileges:true"],
                log_config=LogConfig(type=LogConfig.types.NONE),
                **limits,
            )
        )

    def _mounts(self, task: Task) -> list[Mount]:
        cache = dstack_home() / "cache" / "containers"
        for name in ("pip", "conda", "jobs"):
            os.makedirs(cache / name, 0o700, exist_ok=True)
        os.utime(cache)  # `dstack gc` frees caches that nobody has used for long
        ours: Mapping[str, object] = {CHECKOUT: task.root, SCRATCH: task.scratch, CACHE: cache, **task.places}
        chosen = [split_mount(mount) for mount in self.choices.mounts]
        return [
            *(Mount(there, str(here), type="bind") for there, here in ours.items()),
            *(Mount(there, here, type="bind", read_only=only_read) for here, there, only_read in chosen),
        ]


def in_words(error: JobError, task: Task) -> JobError:
    """The engine's reason for not starting a container, in words that lead somewhere."""
    text = str(error)
    if "could not select device driver" in text or "nvidia-container" in text:
        return JobError(
            "the Docker engine cannot give a container GPUs: NVIDIA's container toolkit is not set up for it",
            hint="install nvidia-container-toolkit, then `sudo nvidia-ctk runtime configure` and restart Docker",
        )
    if "executable file not found" in text or 'exec: "sh"' in text:
        return JobError(f"the image {task.image} has no `sh`, with which every job begins", hint="use another image")
    if "port is already allocated" in text or "address already in use" in text:
        return JobError(f"somebody else has just taken a port of the job: {text}", hint="run it again")
    return error


def _bindings(task: Task) -> dict[int | str, Any]:
    """The job's ports to those of this machine, where only this machine reaches them."""
    return {inner: ("127.0.0.1", port) for inner, port in zip(task.inner_ports, task.ports, strict=True)}


def _caller() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
