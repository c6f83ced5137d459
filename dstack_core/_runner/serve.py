"""Open what a runner needs, register, run, leave."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import sys
import threading
import time

from dstack_core._engine.engine import Engine
from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import Remote, find_remote
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import gone, register
from dstack_core._plugins.registry import Plugins
from dstack_core._runner.host import LIFE, Host
from dstack_core._runner.runner import Runner
from dstack_core.errors import ConflictError, DstackError, PluginError
from dstack_core.home import dstack_home
from dstack_core.models import RunEvent


def serve(run: str, machine: str, remote_name: str) -> tuple[str, str] | None:
    """Work for a run until nothing is left to do. The next run, and the machine's id there, if it is kept for that."""
    umask = os.umask(0o077)
    remote = find_remote(remote_name)
    plugins = Plugins.of_user()
    store = plugins.artifact_store(remote.artifact_store, remote.settings_of(remote.artifact_store))
    try:
        record = register(store, run, machine)
    except ConflictError:
        return None
    executors = Executors(plugins, remote)
    view = RunView(store, run)
    observers = plugins.observers()
    host = Host(
        store=store,
        run=view.run,
        plan=view.plan,
        machine=record,
        executor=executors.get,
        secret=functools.partial(_secret, plugins, remote, view.run.repo),
        work=dstack_home() / "work" / machine,
        observers=observers,
        desired=lambda: runner.desired(),
        umask=umask,
        blame=functools.partial(_blame, plugins),
    )
    runner = Runner(host, view)

    def interrupt(*_: object) -> None:
        runner.interrupted = True

    signal.signal(signal.SIGTERM, interrupt)
    outpost = None
    if LIFE in os.environ:
        from dstack_core._runner.outpost import LOOK, PATIENCE, Outpost

        backend = plugins.backend(remote.backend, remote.settings_of(remote.backend))
        engine = Engine(store, backend, remote, executors, runner.tell, launches=remote.limits.machines_launch)
        outpost = Outpost(engine, view, machine, interrupt)
        runner.alone = lambda: outpost.relay.alone
        runner.elsewhere, runner.patience, runner.look = outpost.relay.wanted, PATIENCE, LOOK
        # Beside what the first job asks of a store that is far away.
        threading.Thread(target=_warm_up, args=(executors, remote.container_executor), daemon=True).start()
    observers.run_started(RunEvent(run, view.run.workflow, view.status(), time.time()))
    runner.run()
    if outpost:
        outpost.quiesce()
    # Linux counts kilobytes, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    gone(store, run, machine, time.time(), peak)
    if outpost:
        outpost.leave()
    observers.close(5.0)
    if outpost is None or runner.interrupted or not remote.limits.idle:
        return None
    from dstack_core._runner.standby import Standby

    return Standby(store, record, lambda: runner.interrupted).wait(remote.limits.idle)


def _warm_up(executors: Executors, name: str | None) -> None:
    """Import what the first job will need, and have it say what it says of itself: an engine is asked for that."""
    with contextlib.suppress(DstackError):  # which the job will be told
        _ = executors.get(name).in_place


def _blame(plugins: Plugins, error: BaseException) -> PluginError | None:
    from dstack_core._plugins.blame import blame  # seldom needed

    return blame(plugins, error)


def _secret(plugins: Plugins, remote: Remote, repo: str, name: str) -> str:
    from dstack_core._engine.secrets import open_secrets  # few jobs use any

    return open_secrets(plugins, remote).get(repo, name)
