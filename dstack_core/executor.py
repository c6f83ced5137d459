"""The contract of an executor: how a runner runs one job on its machine."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from dstack_core.models import JobSpec, Requirements


@dataclass(frozen=True)
class Task:
    """One attempt, ready to start: templates are filled in, code and inputs lie in `root`.

    Attributes:
        label: unique for this attempt; the executor marks what it starts with it, so that it can be found again.
        argv: the command; `script`, when given, is a file of mode 0600 whose path is appended to it.
        root: the checkout. `scratch`: a private folder beside it for the executor's own files; both go afterwards.
        working_dir: relative to `root`.
        env: what the job's environment must have; the executor adds what a process needs to live (PATH, HOME).
        gpus: indices of the GPUs that are this job's, None: all that there are.
        stdout, stderr: file descriptors to write the job's output to; the caller closes its copies.
    """

    label: str
    argv: tuple[str, ...]
    root: Path
    scratch: Path
    working_dir: str
    stdout: int
    stderr: int
    script: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    image: str | None = None
    requirements: Requirements = Requirements()
    gpus: tuple[int, ...] | None = None


class Execution(abc.ABC):
    """A started attempt."""

    @abc.abstractmethod
    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code (128 + n when signal n ended it), or None when it still runs after `timeout` seconds."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ask everything that the job started to end (SIGTERM). Returns at once."""

    @abc.abstractmethod
    def close(self) -> None:
        """End whatever the job started and has not ended, at once, and free what `start` took. Idempotent."""


class Executor(abc.ABC):
    """Starts attempts. One per runner; used by several threads.

    Attributes:
        in_place: jobs work on the very files of `Task.root`, on this machine, and between `start` and the end of the
            job nothing reads there but the job; the executor itself must not list or read it. Then core learns from
            the files' access times which of them the job used. False, which is always right, if a job gets a copy.
    """

    in_place: ClassVar[bool] = False

    @abc.abstractmethod
    def start(self, task: Task) -> Execution:
        """Make the environment and start the job.

        Raises:
            JobError: the environment cannot be made (no such Python, no such image).
        """

    def refuses(self, spec: JobSpec) -> str | None:
        """Why this executor cannot run such a job, for people; None when it can. Asked before anything is spent."""
        return None

    @abc.abstractmethod
    def sweep(self, label: str) -> int:
        """End what is left of an attempt whose runner died; the number of processes or containers ended."""
