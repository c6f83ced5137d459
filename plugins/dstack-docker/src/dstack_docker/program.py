"""What runs in a container, and in which folder of it: the job's command, or the image's own."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dstack_core.errors import JobError
from dstack_core.executor import Task
from dstack_docker.launcher import CHECKOUT


@dataclass(frozen=True)
class Program:
    """A command, and the folder in the container that it starts in."""

    argv: tuple[str, ...]
    folder: str

    @classmethod
    def of(cls, task: Task, config: Mapping[str, Any]) -> Program:
        """What `task` runs in an image with this configuration. Raises JobError."""
        return cls(_argv(task, config), _folder(task, config))


def check_folder(task: Task) -> None:
    """Whether its folder is there. Raises JobError."""
    if not os.path.isdir(task.root / task.working_dir):
        raise JobError(
            f"working_dir {task.working_dir!r} is no folder of the repository",
            hint="make it, add a file to it (git keeps no empty folders), or correct `working_dir:`",
        )


def _argv(task: Task, config: Mapping[str, Any]) -> tuple[str, ...]:
    if not task.image_command:
        return task.argv
    entrypoint = tuple(config.get("Entrypoint") or ())
    argv = (*entrypoint, *(task.argv or config.get("Cmd") or ()))
    if not argv:
        raise JobError(f"the image {task.image} says nothing about what to run", hint="give the workflow `commands:`")
    return argv


def _folder(task: Task, config: Mapping[str, Any]) -> str:
    own = str(config.get("WorkingDir") or "/")
    if task.image_folder and own != "/":
        return own
    return posixpath.normpath(posixpath.join(CHECKOUT, task.working_dir))
