"""Faults that a test arranges: which calls they meet, how often, and what they do to them."""

from __future__ import annotations

import fnmatch
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from cloud_events import Call


@dataclass
class Fault:
    """What is to happen to calls that match. One fault at a time meets a call: the oldest that is not used up."""

    account: str
    action: str
    """A pattern: `RunInstances`, `Describe*`."""
    match: dict[str, str] = field(default_factory=dict)
    """Patterns that parameters must match, `*` for any value."""
    caller: str = "*"
    """A pattern for the caller."""
    skip: int = 0
    """So many matching calls pass first."""
    count: int = 1
    """So many calls are met; -1: all."""
    code: str = ""
    """Answer with this error."""
    message: str = "a fault that the test arranged"
    status: int = 0
    """HTTP status of the error; 0 for what usually goes with its code."""
    body: str = ""
    """Answer with this JSON: for services that the emulator does not have."""
    effect: bool = False
    """Do what the call asks for, and answer with the error nevertheless."""
    lost: bool = False
    """Do what the call asks for, and hang up without an answer."""
    delay: float = 0.0
    """Seconds to wait before anything else."""
    hold: str = ""
    """`before` or `after` the effect: wait there until the fault is lifted."""
    hidden: int = 0
    """What the call makes is not seen by so many of the calls that ask for such things."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    met: int = 0
    """So many calls were met."""
    lifted: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def matches(self, call: Call) -> bool:
        return (
            call.account == self.account
            and fnmatch.fnmatchcase(call.action, self.action)
            and fnmatch.fnmatchcase(call.caller, self.caller)
            and all(_matches(call.parameters.get(name), wanted) for name, wanted in self.match.items())
        )

    @property
    def kind(self) -> str:
        """In a word."""
        found = [name for name in ("lost", "hold", "hidden", "delay", "body") if getattr(self, name)]
        return self.code or (found[0] if found else "none")


def _matches(value: Any, wanted: str) -> bool:
    return value is not None and fnmatch.fnmatchcase(str(value), wanted)


class Faults:
    """All faults of all accounts."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> str:
        with self._lock:
            self._faults[fault.id] = fault
        return fault.id

    def lift(self, name: str) -> int:
        """End a fault, let go of what it holds, and say how many calls it met."""
        with self._lock:
            fault = self._faults.pop(name)
        fault.lifted.set()
        return fault.met

    def lift_all(self, account: str) -> None:
        with self._lock:
            names = [name for name, fault in self._faults.items() if fault.account == account]
        for name in names:
            self.lift(name)

    def met(self, name: str) -> int:
        return self._faults[name].met

    def take(self, call: Call) -> Fault | None:
        """The fault that meets this call, which counts."""
        with self._lock:
            for fault in self._faults.values():
                if not fault.matches(call):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.count:
                    fault.count -= 1
                    fault.met += 1
                    return fault
        return None
