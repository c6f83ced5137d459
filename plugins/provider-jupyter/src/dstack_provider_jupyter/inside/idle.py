"""Ends a server that nobody uses.

Jupyter has means of its own for that, which end kernels and terminals one after the other and then the server: what is
open in a forgotten tab holds them up for ever, or else is ended although a program runs in it. Here it is one decision.
"""

from __future__ import annotations

import time
from typing import Any

LOOKS = 10
"""Looks in the time after which it ends."""
LONGEST = 30.0
"""Seconds between two looks, at most."""


class Idle:
    """Use is: a kernel that works or has just said something, the same of a terminal, a page or file that is opened, a
    file that is saved. A tab that is merely open is no use, nor is a kernel or a shell that waits for input.

    Args:
        app: the server.
        limit: seconds without use after which it ends.
    """

    def __init__(self, app: Any, limit: float) -> None:
        self._app = app
        self._limit = limit
        self._asked = time.time()
        self._log = app.web_app.settings["log_function"]
        app.web_app.settings["log_function"] = self._note

    def watch(self) -> None:
        """From now on. Needs the server's event loop."""
        from tornado.ioloop import PeriodicCallback

        PeriodicCallback(self._look, 1000 * min(LONGEST, self._limit / LOOKS)).start()

    def _note(self, handler: Any, *arguments: Any, **options: Any) -> None:
        if is_use(handler.request.method, handler.request.path, handler.request.query, self._app.base_url):
            self._asked = time.time()
        self._log(handler, *arguments, **options)

    def _look(self) -> None:
        unused = time.time() - max(self._asked, self._kernels(), self._terminals())
        if unused > self._limit:
            print(f"Nobody has used it for {unused:.0f} seconds: it ends.", flush=True)
            self._app.stop()

    def _kernels(self) -> float:
        last = 0.0
        for kernel in list(self._app.kernel_manager._kernels.values()):
            if getattr(kernel, "execution_state", "") == "busy":
                return time.time()
            last = max(last, _seconds(kernel))
        return last

    def _terminals(self) -> float:
        terminals = self._app.web_app.settings.get("terminal_manager")
        last = 0.0
        for terminal in list(terminals.terminals.values()) if terminals else []:
            if _has_children(terminal.ptyproc.pid):
                return time.time()
            last = max(last, _seconds(terminal))
        return last


def is_use(method: str, path: str, query: str, base: str) -> bool:
    """Whether a request comes from what somebody does."""
    below = "/" + path[len(base) :] if path.startswith(base) else path
    if method != "GET":  # what is below /lab/api are JupyterLab's own notes, of its windows for one, every ten seconds
        return method not in ("HEAD", "OPTIONS") and below.startswith("/api/")
    if below.startswith("/api/contents/"):
        return "type=file" in query or "type=notebook" in query
    return below.startswith(("/lab/tree", "/tree", "/notebooks", "/files")) or below in ("/", "/lab")


def _seconds(thing: Any) -> float:
    last = getattr(thing, "last_activity", None)
    return last.timestamp() if last else 0.0


def _has_children(pid: int) -> bool:
    """Whether a shell has started anything that still runs, in the foreground or not."""
    import psutil

    try:
        return bool(psutil.Process(pid).children())
    except psutil.Error:
        return False
