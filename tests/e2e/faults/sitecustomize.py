"""Strikes a dstack process at a chosen moment. Python imports this first when its folder is on PYTHONPATH.

FAULT_IN      `cli` or `runner`: which process is struck; the runner's keeper and the jobs are none of these
FAULT_FILE    a file that grows by one byte with each change to the store that such a process makes
FAULT_AT      strike after the change with this number; 0: never
FAULT_IMPORT  strike when this module is imported first
FAULT_SIGNAL  with this signal; by default SIGKILL
FAULT_BEFORE  strike when the change with that number is about to be made, not after it
FAULT_KEEPER  strike the parent, too; `only`: nobody else
FAULT_RAISE   do not strike, but fail: `ours` with an exception that nobody expects; as a store does it whose answer is
              `lost`, or which is `away` for five changes
FAULT_CLOCK   so many seconds is its clock wrong
FAULT_SET     MODULE:NAME:NUMBER, ...: other values for constants that would make a test slow
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import threading
import time

ROLE = "runner" if "dstack_core._runner" in sys.orig_argv else "cli"
STORE = "dstack_local.store"
VALUES = [item.split(":") for item in os.environ.get("FAULT_SET", "").split(",") if item]


def strike() -> None:
    if failure := os.environ.get("FAULT_RAISE"):
        from dstack_core.errors import StoreError

        raise ZeroDivisionError("a fault") if failure == "ours" else StoreError(f"the store is {failure}")
    number = int(os.environ.get("FAULT_SIGNAL", signal.SIGKILL))
    if os.environ.get("FAULT_KEEPER"):
        os.kill(os.getppid(), number)
        if os.environ["FAULT_KEEPER"] == "only":
            return
    # To this very thread, which then goes no further: another one would take its time to stop them all.
    signal.pthread_kill(threading.get_ident(), number)


def count() -> int:
    counter = os.open(os.environ["FAULT_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(counter, b".")
    size = os.fstat(counter).st_size
    os.close(counter)
    return size


def counted(method):
    at = int(os.environ.get("FAULT_AT", 0))
    away = os.environ.get("FAULT_RAISE") == "away"
    before = "FAULT_BEFORE" in os.environ

    def call(*arguments, **named):
        if away and 0 < at <= count() < at + 5:
            strike()
        if before and count() == at:
            strike()
        result = method(*arguments, **named)
        if not away and not before and count() == at:
            strike()
        return result

    return call


def patch(module) -> None:
    if module.__name__ == STORE and "FAULT_FILE" in os.environ:
        for change in ("write", "append", "delete"):
            setattr(module.FolderStore, change, counted(getattr(module.FolderStore, change)))
    for where, name, number in VALUES:
        if where == module.__name__:
            assert hasattr(module, name)
            setattr(module, name, float(number))


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ.get("FAULT_IMPORT"):
            del os.environ["FAULT_IMPORT"]
            strike()
        if name not in {STORE, *(where for where, _, _ in VALUES)}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), patch(module))
        return spec


if os.environ.get("FAULT_IN") == ROLE:
    if "FAULT_CLOCK" in os.environ:
        clock, wrong = time.time, float(os.environ["FAULT_CLOCK"])
        time.time = lambda: clock() + wrong
    sys.meta_path.insert(0, Finder())
