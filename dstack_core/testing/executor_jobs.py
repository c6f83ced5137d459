"""Jobs that the executor suite starts: shell scripts, each in a folder of its own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstack_core.executor import Execution, Executor, Task

BEAT = "while :; do echo x >> {file}; sleep 0.02; done"
"""A loop whose life can be seen from outside, wherever it runs."""


@dataclass
class Job:
    """A started attempt, the folder it runs in and the files that get its output."""

    execution: Execution
    root: Path
    label: str
    out: Path
    err: Path

    def ended(self) -> int:
        """Wait for the end, clean up, return the exit code."""
        code = self.execution.wait(60)
        assert code is not None, "the job did not end"
        self.execution.close()
        return code


class Jobs:
    """Starts shell scripts as attempts, and closes whatever a test left open."""

    def __init__(self, executor: Executor, folder: Path) -> None:
        self.executor = executor
        self.folder = folder
        self._started: list[Execution] = []

    def start(self, script: str, env: Mapping[str, str] | None = None, root: Path | None = None, **task: Any) -> Job:
        """Start `script` under sh."""
        label = uuid.uuid4().hex
        place = self.folder / label
        root = root or place / "root"
        for folder in (root, place / "scratch"):
            folder.mkdir(parents=True, exist_ok=True)
        program = place / "script"
        program.touch(0o600)
        program.write_text(script + "\n")
        out, err = place / "out", place / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            execution = self.executor.start(
                Task(
                    label=label,
                    argv=("sh", "-e"),
                    script=program,
                    root=root,
                    scratch=place / "scratch",
                    working_dir=task.pop("working_dir", "."),
                    stdout=stdout.fileno(),
                    stderr=stderr.fileno(),
                    env=env or {},
                    **task,
                )
            )
        self._started.append(execution)
        return Job(execution, root, label, out, err)

    def run(self, script: str, **task: Any) -> tuple[int, str]:
        """Run `script` to its end; exit code and output."""
        job = self.start(script, **task)
        return job.ended(), job.out.read_text()

    def close(self) -> None:
        """Close everything that was started."""
        for execution in self._started:
            execution.close()
