"""Where each job of a run stands, and what follows from that. No store, no clock: only the DAG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dstack_core._ledger.records import FINISHED, SUCCESS, WAITING

SEVERITY: Final = ("failed", "aborted", "stopped")
"""Worst first: the worst of its jobs' statuses is the run's."""


class Progress:
    """Follows jobs through their statuses; each change costs as much as the job has dependents.

    Attributes:
        status: of every job, in the plan's order.
        ready: jobs that may start: all that they need succeeded. In the order in which they became ready.
        doomed: jobs that can never start: something that they need ended without success. Value: its name.
    """

    def __init__(self, deps: Mapping[str, Sequence[str]], status: Mapping[str, str]) -> None:
        self.status = dict.fromkeys(deps, "submitted")
        self.ready: dict[str, None] = {}
        self.doomed: dict[str, str] = {}
        self._unfinished = len(self.status)
        self._missing = {name: len(set(needed)) for name, needed in deps.items()}
        self._dependents: dict[str, list[str]] = {name: [] for name in deps}
        for name, needed in deps.items():
            for dep in set(needed):
                self._dependents[dep].append(name)
        self.ready.update((name, None) for name, missing in self._missing.items() if missing == 0)
        for name, now in status.items():
            self.set(name, now)

    @property
    def finished(self) -> bool:
        """Whether every job is."""
        return self._unfinished == 0

    @property
    def waiting(self) -> Iterable[str]:
        """Jobs that nobody has claimed."""
        return (name for name, status in self.status.items() if status in WAITING)

    def set(self, name: str, status: str) -> None:
        """A job has a new status. Finished statuses stay: later news of such a job is ignored."""
        before = self.status[name]
        if before in FINISHED or before == status:
            return
        self.status[name] = status
        self.ready.pop(name, None)
        if status in WAITING and self._missing[name] == 0:
            self.ready[name] = None
        elif status in FINISHED:
            self.doomed.pop(name, None)
            self._unfinished -= 1
            self._tell_dependents(name, status in SUCCESS)

    def outcome(self) -> str:
        """The run's status, when it is finished."""
        seen = set(self.status.values())
        return next((status for status in SEVERITY if status in seen), "done")

    def _tell_dependents(self, name: str, success: bool) -> None:
        for dependent in self._dependents[name]:
            # News may come in any order: of a dependent that runs before of what it needed.
            waits = self.status[dependent] in WAITING
            self._missing[dependent] -= success
            if not success and waits:
                self.doomed.setdefault(dependent, name)
            elif waits and self._missing[dependent] == 0:
                self.ready[dependent] = None
