"""Numberings of processes that containers have (pid namespaces): whether one of them is no more.

Only the first namespace of a system sees the processes of all others. Seen from inside a container, a namespace that
is not there may be a neighbour's, so nothing can be said.
"""

from __future__ import annotations

import os
import re
from typing import Final

from dstack_local import host

FIRST: Final = "pid:[4026531836]"
"""The first namespace of every Linux system since 3.8."""

_SPACE = re.compile(r"pid:\[\d+\]", re.ASCII)
_STATE = re.compile(r"^State:\t([A-Z])", re.MULTILINE)
_NUMBERS = re.compile(r"^NSpid:((?:\t\d+)+)$", re.MULTILINE | re.ASCII)


def is_gone(space: str) -> bool:
    """Whether no process of that namespace is left for sure; False also when this cannot be told from here."""
    if not _SPACE.fullmatch(space) or host.pid_space() != FIRST:
        return False
    names = os.listdir(f"{host.ROOT}/proc")
    # Where others' processes are hidden (`hidepid`), the first of all is. The first process of a namespace lives as
    # long as the namespace does, so one look cannot miss a namespace whose processes come and go.
    return "1" in names and all(_is_elsewhere(name, space) for name in names if name.isdigit())


def _is_elsewhere(pid: str, space: str) -> bool:
    """Whether a process is for sure none of that namespace, or has ended."""
    folder = f"{host.ROOT}/proc/{pid}"
    try:
        if os.readlink(f"{folder}/ns/pid") != space:
            return True
    except OSError:
        pass  # of another user; or it has ended
    try:
        with open(f"{folder}/status", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    state, numbers = _STATE.search(text), _NUMBERS.search(text)
    if state and state[1] in "ZX":
        return True
    # One number: it is in the first namespace itself, which is not the one that is looked for.
    return space != FIRST and numbers is not None and len(numbers[1].split()) == 1
