"""Watching a job that writes more than its log can take: it waits, and is watched all the same."""

from __future__ import annotations

import subprocess
import time

import pytest

from dstack_core._content import logwriting
from dstack_core._content.logs import LogReader, LogWriter
from dstack_core._runner.execute import Watch, watch
from dstack_core._runner.output import Output
from dstack_core.errors import StoreError
from dstack_core.executor import Execution


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A log is full soon."""
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(logwriting, "_SPOOL", 4 * logwriting._MEMORY)


@pytest.fixture
def store(tmp_path):
    """One that is down until `up` is set."""
    from dstack_local.store import FolderStore

    class Down(FolderStore):
        up = False

        def append(self, key, data, offset, last=False):
            if not self.up:
                raise StoreError("the store is down")
            super().append(key, data, offset, last)

    return Down({"path": str(tmp_path / "store")})


class Shell(Execution):
    """A command, as an executor would run it."""

    def __init__(self, command: str, output: Output) -> None:
        self.process = subprocess.Popen(["bash", "-c", command], stdout=output.stdout, stderr=output.stderr)
        output.started()

    def wait(self, timeout=None):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self):
        self.process.terminate()

    def close(self):
        self.process.kill()
        self.process.wait()


def watched(writer, command, desired, max_duration=None):
    output = Output(writer.write)
    execution = Shell(command, output)
    do = Watch(desired, lambda status: None, lambda passed: None, max_duration)
    return watch(execution, output, do)


def is_full(writer):
    return not writer.write("o", b"")


@pytest.mark.parametrize(("wish", "status"), [("stop", "stopped"), ("abort", "aborted")])
def test_a_wish_is_seen_while_the_log_is_full(store, wish, status):
    writer = LogWriter(store, "logs/a")
    deadline = time.monotonic() + 60
    ending = watched(writer, "exec yes", lambda: wish if is_full(writer) or time.monotonic() > deadline else None)
    assert (ending.status, is_full(writer)) == (status, True)
    assert writer._waiting.size < 2 * writer._waiting.limit
    store.up = True
    writer.close()


def test_max_duration_is_seen_while_the_log_is_full(store):
    writer = LogWriter(store, "logs/a")
    ending = watched(writer, "exec yes", lambda: None, 1.0)
    assert "max_duration" in ending.reason
    assert is_full(writer)
    store.up = True
    writer.close()


def test_max_duration_ends_a_job_that_does_not_listen(store, monkeypatch):
    monkeypatch.setattr("dstack_core._runner.execute.GRACE", 0.2)
    store.up = True
    writer = LogWriter(store, "logs/a")
    asked = []
    output = Output(writer.write)
    execution = Shell("trap 'echo no' TERM; while :; do sleep 0.02; done", output)
    ending = watch(execution, output, Watch(lambda: None, asked.append, lambda passed: None, 0.2))
    assert (ending.status, ending.exit_code, asked) == ("failed", None, ["failed"])
    writer.close()


def test_a_job_goes_on_when_there_is_room_again_and_nothing_is_lost(store):
    writer = LogWriter(store, "logs/a")

    def desired():
        store.up = store.up or is_full(writer)

    assert watched(writer, "seq 2000000", desired).status == "done"
    assert store.up
    writer.close(0)
    data = b"".join(entry.data for entry in LogReader(store, "logs/a").read_all() if entry.stream == "o")
    assert data == b"".join(b"%d\n" % n for n in range(1, 2000001))
