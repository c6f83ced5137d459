"""`python:` in a container: what the image has, or what its Conda makes."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dstack_core.errors import JobError
from dstack_core.executor import Task
from dstack_docker.container import Containers
from dstack_docker.execution import finish
from dstack_docker.launcher import PYTHON, SCRATCH

_PROBE: Final = """\
for name in python python3 python{wanted}; do
  path=$(command -v $name) && echo "$name $path $($path -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')"
done
path=$(command -v conda) && echo "conda $path -"
true
"""
_TAIL: Final = 600
"""Characters of what Conda said that an error shows."""


@dataclass(frozen=True)
class Found:
    """A program of an image."""

    path: str
    version: str


class Pythons:
    """Gives jobs their Python. An image is asked once what it has. Used by several threads."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Mapping[str, Found]] = {}

    def prepare(self, task: Task, image: str) -> None:
        """Make `python` the version that the job wants. `image`: its id.

        Raises:
            JobError: the image has no such Python, and no Conda that could make one.
        """
        if task.python is None:
            return
        with self._lock:
            known = self._known.get((image, task.python))
            if known is None:
                known = self._known[image, task.python] = self._ask(task, image)
        fitting = [n for n, found in known.items() if f"{found.version}.".startswith(f"{task.python}.")]
        if not fitting and "conda" in known:
            self._make(task, image)
        elif not fitting:
            raise _no_python(task, known)
        elif "python" not in fitting:
            folder = task.scratch / "home" / ".local" / "bin"
            folder.mkdir(parents=True, exist_ok=True)
            os.symlink(known[fitting[0]].path, folder / "python")

    def _ask(self, task: Task, image: str) -> Mapping[str, Found]:
        assert task.python is not None
        _, said = self._run(task, image, _PROBE.format(wanted=task.python), "probe")
        lines = [line.split() for line in said.splitlines()]
        return {line[0]: Found(line[1], line[2]) for line in lines if len(line) == 3}

    def _make(self, task: Task, image: str) -> None:
        code, said = self._run(task, image, f"conda create -y -q -p {PYTHON} python={task.python} pip", "conda")
        if code != 0:
            raise JobError(
                f"Conda cannot make Python {task.python} in {task.image}: {said[-_TAIL:].strip()}",
                hint="is there such a version, and does its channel answer? Or use an image that has it",
            )

    def _run(self, task: Task, image: str, script: str, name: str) -> tuple[int, str]:
        """Exit code and output of a script in a container of the job's image."""
        output = task.scratch / f"{name}.log"
        output.touch(0o600)
        command = ["sh", "-c", f"exec > {SCRATCH}/{output.name} 2>&1\n{script}"]
        code = finish(self._containers.engine, self._containers.create(task, image, command, helps=True), task)
        return code, output.read_text(encoding="utf-8", errors="replace")


def _no_python(task: Task, known: Mapping[str, Found]) -> JobError:
    versions = sorted({found.version for name, found in known.items() if name != "conda"})
    has = f"it has {', '.join(versions)}" if versions else "it has none"
    return JobError(
        f"the image {task.image} has no Python {task.python} ({has}), and no conda to make one",
        hint=f"use an image that has it, e.g. `python:{task.python}`; or leave `python:` out",
    )
