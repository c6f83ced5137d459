"""Tell that a run is over. What goes wrong is raised, for core to log; what takes too long is ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from dstack_core.models import RunEvent

STATUSES: Final = ("done", "failed")
"""Ends of a run that are told unless the user says otherwise."""
PATIENCE: Final = 3.0
"""Seconds that a command may take; less than a runner that is done waits for its observers."""


class CommandError(Exception):
    """A command of the user's failed, or did not end."""


def notify(event: RunEvent, settings: Mapping[str, Any]) -> None:
    """Tell it. Raises CommandError, OSError."""
    if event.status not in settings.get("on", STATUSES):
        return
    shown = desktop_command(event) if settings.get("desktop", True) else None
    if shown:
        with contextlib.suppress(OSError, CommandError):  # a desktop that shows nothing is no mistake of anybody's
            run(shown, event)
    if settings.get("command"):
        run(settings["command"], event)


def run(command: Sequence[str], event: RunEvent) -> None:
    """Run a program with the event as JSON on its stdin and in DSTACK_EVENT. Raises CommandError, OSError."""
    text = json.dumps(asdict(event))
    # Its output would mix with that of whoever found the run finished.
    process = subprocess.Popen(
        command,
        env={**os.environ, "DSTACK_EVENT": text},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.communicate(text.encode(), timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise CommandError(f"{command[0]} did not end within {PATIENCE:g} s, and was killed") from None
    if process.returncode:
        raise CommandError(f"{command[0]} ended with {process.returncode}")


def desktop_command(event: RunEvent) -> list[str] | None:
    """What shows the event on this desktop; None when there is no desktop, or nothing that could."""
    title, text = f"dstack: {event.workflow} {event.status}", event.run
    if sys.platform == "darwin":
        # As arguments of the script: nothing of a name is read as AppleScript.
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        return ["osascript", "-e", script, title, text] if shutil.which("osascript") else None
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")) or not shutil.which("notify-send"):
        return None
    urgency = "critical" if event.status == "failed" else "normal"
    return ["notify-send", "--app-name=dstack", f"--urgency={urgency}", "--", title, text]
