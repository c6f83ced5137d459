"""A runner that starts one attempt and is then killed, for the executor suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dstack_core.executor import Executor, Task


def start_and_hang(
    open_executor: Callable[[], Executor], label: str, folder: Path, script: Path, more: Mapping[str, Any]
) -> None:
    """Start `script` in `folder` and never look at it again. `more`: what each task of the suite has."""
    output = os.open(os.devnull, os.O_WRONLY)
    task = Task(
        label=label,
        argv=("sh",),
        root=folder / "root",
        scratch=folder / "scratch",
        working_dir=".",
        stdout=output,
        stderr=output,
        script=script,
        **more,
    )
    started = open_executor().start(task)
    time.sleep(3600)
    started.close()
