"""The contract of an executor: how a runner runs one job on its machine."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from dstack_core.errors import DstackError
from dstack_core.models import JobSpec, RegistryAuth, Requirements


class LostError(DstackError):
    """What ran a job went away under it, and its end or its output is not known: it was interrupted, not failed."""

    exit_code: ClassVar[int] = 1


def _tell_nobody(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attempt, ready to start: templates are filled in, code and inputs lie in `root`.

    Attributes:
        label: unique for this attempt; the executor marks what it starts with it, so that it can be found again.
        argv: the command; `script`, when given, is a file of mode 0600 whose path is appended to it.
        image_command: `argv` are arguments of the image's own entry point; empty: the image's own arguments are taken.
        image_folder: it works in the image's own folder, if that has one, and not in `working_dir`.
        root: the checkout. `scratch`: a private folder beside it for the executor's own files; both go afterwards.
        spare: a folder beside those of all attempts of a runner, which goes with the runner: an executor may keep there
            what it made for one attempt, for the next. Not made yet; None: there is none.
        working_dir: relative to `root`.
        env: what the job's environment must have; the executor adds what a process needs to live (PATH, HOME), and
            `DSTACK_CACHE`: a folder, there and writable, that this user's jobs on this machine share: for what can be
            downloaded or made again. It may be empty at the next start.
        gpus: indices of the GPUs that are this job's; None: it asked for none, and an executor that cannot hide
            those that there are shows them all.
        umask: of the user who started the run, for the files of a job that runs as this user. What is dstack's own is
            private whatever it says.
        stdout, stderr: file descriptors to write the job's output to; the caller closes its copies.
        image_digest: what `image` was when the run was planned: it must be that one. None: not known then.
        ports: of the machine, at which the job is reached, from this machine only.
        inner_ports: where the job listens, one for each of `ports`: the same numbers, unless `Executor.own_ports`.
        places: absolute paths that the job must find, and what lies there: artifacts outside the checkout. What the
            job writes to such a folder must be in it afterwards.
        progress: told how far a download has come, in bytes done and in all, several times a second while `start`
            waits for anything. What it raises must end the waiting, and come out of `start`.
    """

    label: str
    argv: tuple[str, ...]
    root: Path
    scratch: Path
    working_dir: str
    stdout: int
    stderr: int
    spare: Path | None = None
    script: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    image: str | None = None
    image_digest: str | None = None
    registry_auth: RegistryAuth | None = None
    requirements: Requirements = Requirements()
    umask: int = 0o022
    gpus: tuple[int, ...] | None = None
    ports: tuple[int, ...] = ()
    inner_ports: tuple[int, ...] = ()
    places: Mapping[str, Path] = field(default_factory=dict)
    image_command: bool = False
    image_folder: bool = False
    progress: Callable[[int, int], None] = _tell_nobody


class Execution(abc.ABC):
    """A started attempt."""

    image_digest: str | None = None
    """Of the image that it runs in; None when it runs in none."""

    @abc.abstractmethod
    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code (128 + n when signal n ended it), or None when it still runs after `timeout` seconds.

        With the exit code, all output has been written.

        Raises:
            LostError: nobody can tell any more how it ended.
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask everything that the job started to end (SIGTERM). Returns at once."""

    @abc.abstractmethod
    def close(self) -> None:
        """End whatever the job started and has not ended, at once, and free what `start` took. Idempotent.

        It is called again when the next job may have begun, before the run ends: what takes its time, and what the next
        job need not wait for, may go on between the two.
        """

    def cause(self) -> str | None:
        """Why it ended with its exit code, for people, when the executor knows more than that: `out of memory`."""
        return None


class Executor(abc.ABC):
    """Starts attempts. One per runner; used by several threads.

    Attributes:
        in_place: jobs work on the very files of `Task.root`, on this machine, and between `start` and the end of the
            job nothing reads there but the job; the executor itself must not list or read it. Then core learns from
            the files' access times which of them the job used. False, which is always right, if a job gets a copy.
        own_ports: a job has all ports to itself: one may listen where another does, or somebody on the machine.
    """

    in_place: bool = False
    own_ports: bool = False

    @abc.abstractmethod
    def start(self, task: Task) -> Execution:
        """Make the environment and start the job.

        Raises:
            JobError: the environment cannot be made (no such Python, no such image, no place for an absolute path).
        """

    def refuses(self, spec: JobSpec) -> str | None:
        """Why this executor cannot run such a job, for people; None when it can. Asked before anything is spent."""
        return None

    @abc.abstractmethod
    def sweep(self, label: str) -> int:
        """End what is left of an attempt whose runner died; the number of processes or containers ended."""


@runtime_checkable
class SupportsImageOrigin(Protocol):
    """An executor that can tell which images nobody else could have. Beside `SupportsImages`."""

    def is_only_here(self, image: str, digest: str) -> bool:
        """Whether `image`, which has the digest that `SupportsImages.digest` told, was made on this machine: no
        registry is known to have it. Asks no registry. Raises JobError: it cannot be known."""


@runtime_checkable
class SupportsImages(Protocol):
    """An executor whose jobs run in container images."""

    @property
    def default_image(self) -> str:
        """The image of a job that names none."""

    def digest(self, image: str, auth: RegistryAuth | None = None, *, ask_registry: bool = True) -> str | None:
        """What the image is now: `sha256:` and 64 hexadecimal digits. Downloads nothing.

        None: it is not on this machine, and the registry was not to be asked.

        Raises:
            JobError: it cannot be known: no such image, no credentials for it, nobody who could be asked.
        """


@dataclass(frozen=True)
class Inside:
    """How a program is started in a running attempt: `argv`, in `folder` and with exactly the environment `env`, as far
    as they are not None: then the caller's will do."""

    argv: tuple[str, ...]
    folder: Path | None = None
    env: Mapping[str, str] | None = None


@runtime_checkable
class SupportsShell(Protocol):
    """An executor that lets people into running jobs."""

    def inside(self, label: str, command: Sequence[str], *, terminal: bool) -> Inside:
        """How `command` is started where a running attempt is: in its environment, and its working folder. An empty one
        is a shell.

        Args:
            label: see `Task.label`. The attempt was started on this machine, perhaps by another process.
            terminal: the caller has a terminal, which the program is to have.

        Raises:
            JobError: no such attempt runs here, or there is no way into it.
        """
