"""Which executor runs a job, and the executors themselves."""

from __future__ import annotations

import hashlib
import threading

from dstack_core._engine.remote import Remote
from dstack_core._plugins.registry import Plugins
from dstack_core.executor import Executor
from dstack_core.models import JobSpec


class Executors:
    """The executors of a remote, each made when it is first asked for. Used by several threads.

    Each is made once, whichever attempts ask for it at the same time: it tells the jobs that it started from what they
    left behind, and would take another one's for the latter.

    Attributes:
        plugins: where they come from.
    """

    def __init__(self, plugins: Plugins, remote: Remote) -> None:
        self.plugins = plugins
        self._remote = remote
        self._lock = threading.Lock()
        self._made: dict[str, Executor] = {}

    def get(self, name: str | None) -> Executor:
        """The executor of that name, the default one for None. Raises PluginError."""
        chosen = name or self._remote.executor
        with self._lock:
            if chosen not in self._made:
                self._made[chosen] = self.plugins.executor(chosen, self._remote.settings_of(chosen))
            return self._made[chosen]

    def name_for(self, spec: JobSpec, *, contained: bool = False) -> str:
        """The name of the executor that suits a job. `contained`: it needs a container for a reason of its inputs'."""
        absolute = any(artifact.path.startswith("/") for artifact in spec.artifacts)
        suits = self._remote.container_executor if spec.image or absolute or contained else self._remote.executor
        return spec.executor or suits


def short(job: str, attempt: int) -> str:
    """A short name for an attempt's folder: paths in it must stay short enough for Unix sockets (108 bytes)."""
    return f"{hashlib.sha256(job.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}.{attempt}"


def label(machine: str, job: str, attempt: int) -> str:
    """What an executor marks an attempt's processes with, and `sweep` finds them by."""
    return f"{machine}.{short(job, attempt)}"
