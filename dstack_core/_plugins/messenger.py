"""Tell observers from a command: in a process of its own, so that nothing they do reaches the command or its terminal.

`python -c` with `_CHILD` calls `deliver` in the child. What the plugins print, and what is wrong with them, goes to
`plugins.log` in `$DSTACK_HOME`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from dstack_core._plugins.observe import watching
from dstack_core._plugins.world import World
from dstack_core.home import dstack_home
from dstack_core.models import RunEvent

PATIENCE: Final = 60.0
"""Seconds that observers have until the process ends, whatever they do."""
# The child gets our `sys.path`: `-m` would put the working folder, which may be anybody's repository, in front.
_CHILD: Final = "import json, sys; a = json.loads(sys.argv[1]); sys.path[:] = a['path']; \
from dstack_core._plugins.messenger import deliver; deliver(a['event'])"
_sent: list[subprocess.Popen[bytes]] = []
"""Kept, because Python complains of a process that is forgotten before it ends."""


def run_finished(world: World, event: RunEvent) -> None:
    """Tell whoever observes that a run reached its last status. Returns at once."""
    if not watching(world):
        return
    message = json.dumps({"path": sys.path, "event": asdict(event)})
    with contextlib.suppress(OSError):  # no room for a process or a log is no reason to fail what is done
        log = os.open(dstack_home() / "plugins.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _sent.append(_start(message, log))
        finally:
            os.close(log)


def deliver(event: Mapping[str, Any]) -> None:
    """The child's part: tell every observer, and end, whatever threads they started."""
    import logging

    from dstack_core._plugins.registry import Plugins

    logging.basicConfig(format="%(asctime)s %(message)s")
    observers = Plugins.of_user().observers()
    observers.run_finished(RunEvent(**event))
    observers.close(PATIENCE)
    sys.stdout.flush()
    os._exit(0)


def _start(message: str, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, message],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
