"""Look into plugins without running their code here: one process each, side by side, with a deadline.

Whatever a plugin does when it is imported (exit, hang, crash the interpreter, print, start threads) stays in there.
`python -c` with `_CHILD` calls `look` in the child; what it found comes back as JSON through a pipe of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from dstack_core._plugins.catalog import Finding, finding_from
from dstack_core._plugins.kinds import KINDS, OBSERVERS
from dstack_core._plugins.listing import Listed
from dstack_core._plugins.setting import models_of
from dstack_core._plugins.world import World
from dstack_core.errors import DstackError

DEADLINE = 10.0
"""Seconds that one plugin may take to load."""
_AT_ONCE = 8
_one_at_a_time = threading.Lock()
# The child gets our `sys.path`: `-m` would put the working folder, which may be anybody's repository, in front.
_CHILD = "import json, sys; a = json.loads(sys.argv[1]); sys.path[:] = a['path']; \
from dstack_core._plugins.inspection import look; look(a)"


@dataclass
class _Child:
    plugin: Listed
    process: subprocess.Popen[bytes]
    pipe: int
    until: float
    answer: bytearray = field(default_factory=bytearray)


def inspect(world: World, plugins: Sequence[Listed]) -> dict[Listed, Finding]:
    """Load each plugin in a process of its own and say what it provides, or why it fails; the catalog remembers it."""
    if not plugins:
        return {}
    findings = _inspect_all(plugins)
    with _one_at_a_time:
        world.catalog.learn(findings, world.listed())
    return findings


def _inspect_all(plugins: Iterable[Listed], deadline: float = DEADLINE) -> dict[Listed, Finding]:
    waiting, findings = list(plugins), dict[Listed, Finding]()
    running: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < _AT_ONCE:
                    child = _start(waiting.pop(0), deadline)
                    running[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                for pipe in _finished(selector, running):
                    selector.unregister(pipe)
                    child = running.pop(pipe)
                    findings[child.plugin] = _end(child, deadline)
        finally:
            for child in running.values():
                _end(child, 0.0)
    return findings


def look(request: dict[str, object]) -> None:
    """The child's part: load the plugin, answer through the pipe, and end at once, whatever threads it started."""
    pipe, deadline = int(str(request["pipe"])), float(str(request["deadline"]))
    once = threading.Lock()

    def answer(finding: Finding) -> None:
        once.acquire()
        data = json.dumps(asdict(finding)).encode()
        while data:
            data = data[os.write(pipe, data) :]
        os._exit(0)

    watch = threading.Timer(deadline, lambda: answer(_late(deadline, _main_place())))
    watch.daemon = True
    watch.start()
    name, value, distribution, version = (str(request[k]) for k in ("name", "value", "distribution", "version"))
    answer(_examine(Listed(name, value, distribution, version)))


def _examine(plugin: Listed) -> Finding:
    """Load the plugin and each of its entries: what it provides, and which observer hooks it implements."""
    world = World.only(plugin)
    provides: dict[str, dict[str, str]] = {}
    try:
        loaded = world.load(plugin)
        entries = [(kind, entry) for kind in KINDS for entry in world.entries(plugin, kind)]
        for kind, entry in entries:
            world.load_entry(plugin, kind, entry)
            provides.setdefault(kind.name, {})[entry.name] = entry.summary
        observers = tuple(hook for hook in OBSERVERS if hook in world.hooks(loaded.module))
        settings = tuple(has.name for has in models_of(world, plugin))
        return Finding("ok", None, provides, observers, bool(loaded.printed), settings)
    except DstackError as error:
        reason = error.message.partition(" is failed: ")[2] or error.message
        return Finding("failed", reason)
    except KeyboardInterrupt:
        return Finding("failed", "KeyboardInterrupt when imported")


def _start(plugin: Listed, deadline: float) -> _Child:
    ours, theirs = os.pipe()
    request = {
        "path": sys.path,
        "pipe": theirs,
        "deadline": deadline,
        "name": plugin.name,
        "value": plugin.value,
        "distribution": plugin.distribution,
        "version": plugin.version,
    }
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs,),
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    # The child's own watch is first, and can say where the plugin hangs; ours is for code that lets no thread run.
    return _Child(plugin, process, ours, time.monotonic() + deadline + 3)


def _finished(selector: selectors.BaseSelector, running: dict[int, _Child]) -> list[int]:
    soonest = min(child.until for child in running.values())
    done = []
    for key, _ in selector.select(max(0.0, soonest - time.monotonic())):
        chunk = os.read(key.fd, 65536)
        running[key.fd].answer += chunk
        if not chunk:
            done.append(key.fd)
    now = time.monotonic()
    return done + [pipe for pipe, child in running.items() if child.until <= now and pipe not in done]


def _end(child: _Child, deadline: float) -> Finding:
    os.close(child.pipe)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signal.SIGKILL)
    code = child.process.wait()
    try:
        return finding_from(json.loads(child.answer))
    except (ValueError, KeyError, TypeError, AttributeError):
        if time.monotonic() >= child.until:
            return _late(deadline, "")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Finding("failed", f"it ended the process that loaded it ({how})")


def _late(deadline: float, place: str) -> Finding:
    return Finding("failed", f"still loading after {deadline:g} s{place}")


def _main_place() -> str:
    """Where the main thread is, as ` (file:line)`, skipping frames of dstack and of the import system."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith("<") and "/importlib/" not in file:
            return f" ({file}:{frame.f_lineno})"
        frame = frame.f_back
    return ""
