"""What a container begins with: a script for `sh` that makes the job's environment and then becomes the job.

The environment travels in a file of mode 0600, not in the container's configuration: there `docker inspect` would show
it, and the engine would keep it on its disk. The file goes with the attempt's folder.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dstack_core.executor import Task

CHECKOUT: Final = "/workflow"
SCRATCH: Final = "/scratch"
CACHE: Final = "/cache"
"""Where a job finds its checkout, its executor's folder, and what jobs share: downloaded packages."""

PYTHON: Final = f"{SCRATCH}/python"
"""A Python that was made for the job."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PREPARE: Final = """\
export PATH="$HOME/.local/bin:$PATH"
if [ -x {python}/bin/python ]; then
  export PATH="{python}/bin:$PATH" CONDA_PREFIX={python}
fi
if [ -z "${{BASH_ENV+set}}" ] && command -v conda > /dev/null; then
  conda=$(command -v conda) && conda=${{conda%/*/*}}/etc/profile.d/conda.sh
  if [ -f "$conda" ]; then export BASH_ENV="$conda"; fi # so that `conda activate` works in the job's script
  unset conda
fi
. {scratch}/env
cd {folder} || exit 127
"""
_ENTER: Final = """\
[ $# = 0 ] || exec "$@"
command -v bash > /dev/null && exec bash
exec sh
"""


def write_launcher(task: Task, folder: str) -> None:
    """Write what `launch_command` and `enter_command` start. Raises OSError."""
    for name in ("home", "tmp"):
        os.makedirs(task.scratch / name, 0o700, exist_ok=True)
    command = [*task.argv, *([f"{SCRATCH}/{task.script.name}"] if task.script else [])]
    if task.script:
        _place_script(task)
    _write(task.scratch / "env", "".join(f"export {name}={shlex.quote(task.env[name])}\n" for name in _named(task.env)))
    prepare = _PREPARE.format(python=PYTHON, scratch=SCRATCH, folder=shlex.quote(folder))
    _write(task.scratch / "launch", f"{prepare}exec {' '.join(map(shlex.quote, command))}\n")
    _write(task.scratch / "enter", prepare + _ENTER)


def launch_command() -> list[str]:
    """Starts what `write_launcher` wrote."""
    return ["sh", f"{SCRATCH}/launch"]


def enter_command(command: Sequence[str]) -> list[str]:
    """Starts `command`, or a shell if it is empty, as the job was started: in its environment and working folder."""
    return ["sh", f"{SCRATCH}/enter", *command]


def basic_environment(user: str, given: Mapping[str, str]) -> dict[str, str]:
    """What every container has, in the open."""
    return {
        "HOME": f"{SCRATCH}/home",
        "TMPDIR": f"{SCRATCH}/tmp",  # noqa: S108  it is the job's own
        "USER": user,
        "LOGNAME": user,
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_CACHE_DIR": f"{CACHE}/pip",
        "CONDA_PKGS_DIRS": f"{CACHE}/conda",
        "DSTACK_CACHE": f"{CACHE}/jobs",
        **given,
    }


def _named(env: Mapping[str, str]) -> list[str]:
    return [name for name in env if _NAME.fullmatch(name)]


def _place_script(task: Task) -> None:
    """The job's script, where the container finds it: in scratch, where the runner puts it anyway."""
    assert task.script is not None
    if task.script.parent != task.scratch:
        _write(task.scratch / task.script.name, task.script.read_text(encoding="utf-8", errors="surrogateescape"))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
