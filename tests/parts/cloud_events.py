"""What was called: every request to the emulated cloud, for tests to read."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Call:
    """One request, and what became of it."""

    service: str
    action: str
    parameters: dict[str, Any]
    account: str
    region: str = ""
    caller: str = ""
    """Who: the ARN, or what the cloud calls its principals."""
    machine: bool = False
    """Whether it came from the network of the machines."""
    status: int = 0
    """Of the answer; 0 while there is none."""
    error: str = ""
    fault: str = ""
    """Which fault a test had arranged for it, in a word."""
    number: int = field(default=0, compare=False)
    time: float = field(default_factory=time.time, compare=False)
    """When it came, in seconds since the epoch."""


class Events:
    """The calls in order of their arrival."""

    def __init__(self) -> None:
        self._calls: dict[str, list[Call]] = {}
        self._number = 0
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        with self._lock:
            self._number += 1
            call.number = self._number
            self._calls.setdefault(call.account, []).append(call)

    def of(self, account: str, after: int = 0) -> list[dict[str, Any]]:
        """The calls of an account whose number is above `after`."""
        with self._lock:
            return [asdict(call) for call in self._calls.get(account, ()) if call.number > after]

    def forget(self, account: str) -> None:
        """Drop the calls of an account that nobody will ask about."""
        with self._lock:
            self._calls.pop(account, None)
