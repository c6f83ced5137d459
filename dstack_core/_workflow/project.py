"""Which folder is the project."""

from __future__ import annotations

import os
from pathlib import Path


def find_project(cwd: Path) -> Path:
    """The nearest folder at or above `cwd` that has `.dstack/`, else the git working tree around it, else `cwd`.

    The folder of the user's own data (`$DSTACK_HOME`, by default `~/.dstack`) makes no project of the home around
    it, unless it holds workflows.
    """
    start = Path(cwd).resolve()
    data = Path(os.environ.get("DSTACK_HOME") or "~/.dstack").expanduser().resolve()
    above = (start, *start.parents)
    for folder in above:
        dot = folder / ".dstack"
        if dot.is_dir() and (dot.resolve() != data or _holds_workflows(dot)):
            return folder
    return next((folder for folder in above if (folder / ".git").exists()), start)


def _holds_workflows(dot: Path) -> bool:
    return any((dot / name).exists() for name in ("workflows.yaml", "workflows.yml", "workflows"))
