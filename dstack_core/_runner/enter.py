"""`python -m dstack_core._runner.enter REMOTE EXECUTOR LABEL TERMINAL [COMMAND...]`: becomes a program, or a shell,
inside a running attempt on this machine. It is what `dstack ssh` starts on machines that are other computers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dstack_core.errors import DstackError, JobError
from dstack_core.executor import Executor, SupportsShell


def become(executor: Executor, name: str, label: str, command: Sequence[str], *, terminal: bool) -> NoReturn:
    """Replace this process. Raises JobError when there is no way in."""
    if not isinstance(executor, SupportsShell):
        raise JobError(f"the executor {name} lets nobody into its jobs")
    inside = executor.inside(label, command, terminal=terminal)
    try:
        if inside.folder is not None:
            os.chdir(inside.folder)
        env = os.environ if inside.env is None else inside.env
        os.execvpe(inside.argv[0], inside.argv, env)  # noqa: S606  that there is no shell is the point
    except OSError as error:
        raise JobError(f"cannot start {inside.argv[0]} there: {error.strerror}") from None


def main() -> int:
    """Only returns when there is no way in: 1, as shells say it of a command that they cannot give."""
    from dstack_core._engine.executors import Executors
    from dstack_core._engine.remote import find_remote
    from dstack_core._plugins.registry import Plugins

    remote, executor, label, terminal, *command = sys.argv[1:]
    try:
        executors = Executors(Plugins.of_user(), find_remote(remote))
        become(executors.get(executor or None), executor, label, command, terminal=terminal == "terminal")
    except DstackError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  to whoever came
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
