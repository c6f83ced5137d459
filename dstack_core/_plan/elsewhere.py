"""Other stores than the run's own, in which results may be. They are asked only for what that one does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dstack_core._ledger.ahead import within_patience
from dstack_core._ledger.traces import Input, Trace, Watched
from dstack_core._plan.job import PlannedJob
from dstack_core._plan.reuse import Lookup, Verdict, verdict
from dstack_core.errors import DstackError

T = TypeVar("T")


class Elsewhere:
    """The look-ups of other stores, opened at the first question. One that fails is told once, and left alone."""

    def __init__(
        self,
        lookups: Callable[[], Iterator[Lookup]],
        problem: Callable[[DstackError], None],
        recorded: str | None = None,
    ) -> None:
        """`recorded`: a repository whose workflows with results are listed first: there are many to be asked for."""
        self._open = lookups
        self._problem = problem
        self._recorded = recorded
        self._lookups: list[Lookup] | None = None
        self._answering: list[Lookup] = []

    def verdict(self, job: PlannedJob, watched: Watched, inputs: Sequence[Input]) -> Verdict | None:
        """A verdict that takes over what is there, or None."""

        def ask(lookup: Lookup) -> Verdict | None:
            found = verdict(lookup, job, watched, inputs)
            return found if found.reused else None

        return self._first(ask)

    def latest(self, repo: str, workflow: str) -> tuple[Trace, str | None] | None:
        """The newest result of a workflow that is whole, and the remote that has it; or None."""

        def ask(lookup: Lookup) -> tuple[Trace, str | None] | None:
            found = lookup.latest(repo, workflow)
            return (found, lookup.remote) if found and lookup.has(found.artifacts) else None

        return self._first(ask)

    def _first(self, ask: Callable[[Lookup], T | None]) -> T | None:
        for lookup in list(self._opened()):
            try:
                found = self._asked(lookup, ask)
            except DstackError as error:
                self._problem(_unasked(lookup, error))
                self._opened().remove(lookup)
                continue
            if found is not None:
                return found
        return None

    def _asked(self, lookup: Lookup, ask: Callable[[Lookup], T | None]) -> T | None:
        """The first time not for longer than one is patient: the plan can do without."""
        if lookup in self._answering:
            return ask(lookup)
        found = within_patience(lookup.store, lambda: ask(lookup))
        self._answering.append(lookup)
        return found

    def _opened(self) -> list[Lookup]:
        if self._lookups is None:
            self._lookups = []
            for lookup in self._open():
                try:
                    if self._recorded is not None:
                        self._asked(lookup, lambda lookup: lookup.list_recorded(self._recorded or ""))
                except DstackError as error:
                    self._problem(_unasked(lookup, error))
                else:
                    self._lookups.append(lookup)
        return self._lookups


def _unasked(lookup: Lookup, error: DstackError) -> DstackError:
    return DstackError(f"the remote {lookup.remote} could not be asked: {error}", hint=error.hint)
