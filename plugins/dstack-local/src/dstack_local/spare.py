"""Environments that a job left as they were made: the next job gets one, for that costs less than making it anew."""

from __future__ import annotations

import itertools
import os
import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from dstack_local import python_env
from dstack_local.interpreter import Interpreter


class SpareEnvironments:
    """Those of one runner, by interpreter. An environment may be moved: it holds no path of itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: defaultdict[Interpreter, list[str]] = defaultdict(list)
        self._numbers = itertools.count()

    def take(self, folder: str, interpreter: Interpreter) -> None:
        """Make `folder`, which must not exist, an environment that no job has touched. Raises OSError."""
        with self._lock:
            spare = self._there[interpreter].pop() if self._there[interpreter] else None
        if spare is not None:
            with suppress(OSError):
                os.rename(spare, folder)
                return
        python_env.make(folder, interpreter)

    def give_back(self, folder: str, interpreter: Interpreter, spare: Path) -> None:
        """Keep `folder` in `spare` for another job, unless a job has changed anything in it."""
        if not python_env.is_as_made(folder, interpreter):
            return
        kept = f"{spare}/{next(self._numbers)}"
        with suppress(OSError):  # then it goes with its attempt
            os.makedirs(spare, 0o700, exist_ok=True)
            os.rename(folder, kept)
            with self._lock:
                self._there[interpreter].append(kept)
