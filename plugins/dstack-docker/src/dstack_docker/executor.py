"""The executor `docker`: a job is a container, with its checkout bound into it."""

from __future__ import annotations

import os
import posixpath
import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from docker.errors import DockerException
from requests.exceptions import RequestException

from dstack_core.errors import JobError
from dstack_core.executor import Execution, Executor, Inside, LostError, Task
from dstack_core.models import JobSpec, RegistryAuth
from dstack_docker.choices import Choices
from dstack_docker.container import Containers, in_words
from dstack_docker.engine import LABEL, Engine, NoEngineError
from dstack_docker.execution import GONE, DockerExecution, remove
from dstack_docker.images import Images
from dstack_docker.launcher import CACHE, CHECKOUT, SCRATCH, enter_command, launch_command, write_launcher
from dstack_docker.leftovers import remove_leftovers
from dstack_docker.ownership import Ownership
from dstack_docker.program import Program, check_folder
from dstack_docker.python import Pythons

TAKEN: Final = (CHECKOUT, SCRATCH, CACHE, "/proc", "/sys", "/dev")
"""What lies there is not the job's to replace."""


class DockerExecutor(Executor):
    """Runs jobs in containers of a Docker engine. The settings: see `settings.DockerSettings`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._choices = Choices.of(settings)
        self._engine = Engine(self._choices.host)
        self._images = Images(self._engine)
        self._containers = Containers(self._engine, self._choices)
        self._pythons = Pythons(self._containers)
        self._tidied = threading.Lock()

    @property
    def in_place(self) -> bool:  # type: ignore[override]  # a constant for most executors
        """See `Executor`: when the engine shares this machine's kernel, so its files; and nobody walks over them."""
        with suppress(JobError):
            return self._choices.user == "caller" and self._engine.about["KernelVersion"] == os.uname().release
        return False

    @property
    def own_ports(self) -> bool:  # type: ignore[override]
        """See `Executor`: each container has a network of its own, unless the settings say otherwise."""
        return self._choices.network != "host"

    @property
    def default_image(self) -> str:
        """See `SupportsImages`."""
        return self._choices.image

    def digest(self, image: str, auth: RegistryAuth | None = None, *, ask_registry: bool = True) -> str | None:
        """See `SupportsImages`."""
        return self._images.digest(image, auth, ask_registry=ask_registry)

    def is_only_here(self, image: str, digest: str) -> bool:
        """See `SupportsImageOrigin.is_only_here`."""
        return self._images.is_only_here(image, digest)

    def refuses(self, spec: JobSpec) -> str | None:
        """See `Executor.refuses`: artifacts that no container can have at their place."""
        for artifact in spec.artifacts:
            path = posixpath.normpath(artifact.path)
            if not path.startswith("/"):
                continue
            if path == "/" or any(_inside(path, taken) for taken in TAKEN):
                return f"its artifact {artifact.path} cannot lie there: that place in a container is not the job's own"
            if not artifact.folder:
                folder = posixpath.dirname(path)
                return (
                    f"its artifact {artifact.path} is a file outside the checkout; of what is outside, folders can be "
                    f"saved: {path}/ if it is one, or {folder}"
                )
        return None

    def start(self, task: Task) -> Execution:
        """See `Executor.start`."""
        try:
            return self._start(task)
        except NoEngineError:
            if self._engine.was_there and self._engine.await_return(lambda: task.progress(0, 0)):
                raise LostError(GONE) from None
            raise

    def _start(self, task: Task) -> Execution:
        if self._tidied.acquire(blocking=False):  # by the first job, once
            remove_leftovers(self._engine)
        check_folder(task)
        task = replace(task, image=task.image or self.default_image)
        image = self._images.get(task.image or "", task.image_digest, task.registry_auth, task.progress)
        program = Program.of(task, image["Config"] or {})
        owner = self._ownership(task, image)
        try:
            write_launcher(replace(task, argv=program.argv), program.folder)
        except OSError as error:
            raise JobError(f"cannot make the job's environment: {error}", hint="is the disk full?") from error
        self._pythons.prepare(task, image["Id"])
        if owner:
            owner.give()
        container = self._containers.create(task, image["Id"], launch_command())
        try:
            execution = DockerExecution(
                self._engine, container, task, image["Digest"], owner.take_back if owner else None
            )
            execution.begin()
        except BaseException as error:
            with suppress(DockerException, RequestException, JobError):
                remove(self._engine, container)
            if isinstance(error, NoEngineError):
                raise
            if isinstance(error, JobError):
                raise in_words(error, task) from None
            raise
        return execution

    def sweep(self, label: str) -> int:
        """See `Executor.sweep`."""
        with self._engine.speaking():
            left = self._engine.api.containers(all=True, filters={"label": f"{LABEL}={label}"})
            return sum(remove(self._engine, container["Id"]) for container in left)

    def inside(self, label: str, command: Sequence[str], *, terminal: bool) -> Inside:
        """See `SupportsShell.inside`: by Docker's own program, which knows how to hand a terminal on."""
        program = shutil.which("docker")
        if program is None:
            raise JobError("there is no program `docker` here, by which one gets into a container", hint="install it")
        with self._engine.speaking():
            running = self._engine.api.containers(
                filters={"label": f"{LABEL}={label}", "name": f"dstack-{label}"}  # none that only helps
            )
        if not running:
            raise JobError("it does not run in this Docker engine, or has just ended")
        kind = "-it" if terminal else "-i"
        into = ("exec", kind, "--env", f"TERM={os.environ.get('TERM', 'dumb')}", str(running[0]["Id"]))
        return Inside((program, "--host", self._engine.address, *into, *enter_command(command)))

    def _ownership(self, task: Task, image: Mapping[str, Any]) -> Ownership | None:
        if self._containers.user is not None:
            return None
        return Ownership(self._containers, task, image["Id"], str(image["Config"].get("User") or ""))


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
