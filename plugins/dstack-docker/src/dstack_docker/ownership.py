"""With `user: image`, whose files are whose: the job's while it runs, the caller's before and after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from dstack_core.errors import JobError
from dstack_core.executor import Task
from dstack_docker.container import Containers
from dstack_docker.execution import finish
from dstack_docker.launcher import CHECKOUT, SCRATCH

ROOT: Final = "0:0"


@dataclass(frozen=True)
class Ownership:
    """The files of one attempt, of an image whose user is somebody else than the caller."""

    containers: Containers
    task: Task
    image: str
    user: str

    def give(self) -> None:
        """To the job. Raises JobError."""
        self._change(self.user or ROOT)

    def take_back(self) -> None:
        """To the caller, so that what the job made can be saved, and removed. Raises JobError."""
        self._change(ROOT if self.containers.engine.is_rootless else f"{os.geteuid()}:{os.getegid()}")

    def _change(self, owner: str) -> None:
        command = ["chown", "-R", "-h", owner, CHECKOUT, SCRATCH, *self.task.places]
        helper = self.containers.create(self.task, self.image, command, user=ROOT, helps=True)
        if finish(self.containers.engine, helper, self.task) != 0:
            raise JobError(
                f"files of the job could not be given to {owner}", hint="setting `user: caller` needs nothing like it"
            )
