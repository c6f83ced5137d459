"""A runner that starts one attempt and is then killed, for the executor suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from dstack_core.executor import Executor, Task


def start_and_hang(open_executor: Callable[[], Executor], label: str, root: Path, scratch: Path, script: Path) -> None:
    """Start `script` and never look at it again."""
    output = os.open(os.devnull, os.O_WRONLY)
    task = Task(label, ("sh",), root, scratch, ".", output, output, script=script)
    open_executor().start(task)
    time.sleep(3600)
