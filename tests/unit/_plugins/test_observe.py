"""Observer hooks: told in order, in threads of their own, and never able to disturb."""

from __future__ import annotations

import json
import time

HEAD = "from dstack_core.hookspecs import Entry, hookimpl\n"
TELL = """
import json, logging, sys, threading
from dstack_core._plugins import Plugins
from dstack_core.models import JobEvent, RunEvent
logging.basicConfig(format="%(name)s %(message)s")
observers = Plugins.of_user().observers()
run = RunEvent("r-1", "train", "running", 1.0)
observers.run_started(run)
for attempt in range(50):
    observers.job_changed(JobEvent("r-1", "train", "running", attempt, 1.0))
observers.run_finished(run)
started = threading.active_count()
observers.close(TIMEOUT)
print(json.dumps([started, sorted(m for m in sys.modules if m.startswith("dstack_") and "." not in m)]))
"""
WRITING = (
    HEAD
    + """
import os
def write(line):
    with open(os.environ["DSTACK_HOME"] + "/NAME.txt", "a") as file:
        file.write(line + "\\n")
@hookimpl
def dstack_run_started(event): write("started " + event.run)
@hookimpl
def dstack_job_changed(event): write(str(event.attempt))
@hookimpl
def dstack_run_finished(): write("finished")
"""
)


def tell(site, timeout=30):
    # Not those that happen to be installed beside dstack where it is developed.
    done = site.python(TELL.replace("TIMEOUT", str(timeout)), DSTACK_DISABLED_PLUGINS="notify")
    assert done.returncode == 0, done.stderr
    threads, modules = json.loads(done.stdout)
    return threads, modules, done.stderr


def told(site, name):
    return (site.home / f"{name}.txt").read_text().split("\n")


def test_observers_are_told_in_order_known_or_not(site):
    site.home.mkdir(mode=0o700)
    site.add("one", WRITING)
    site.add("two", WRITING, editable=True)
    everything = ["started r-1", *map(str, range(50)), "finished", ""]
    for _ in range(2):
        assert tell(site)[2] == ""
        assert told(site, "one") == told(site, "two") == everything
        (site.home / "one.txt").unlink()
        (site.home / "two.txt").unlink()


def test_plugins_without_observers_cost_no_thread_and_no_import(site):
    site.add("one")
    site.add("two", editable=True)
    assert tell(site) == (1, ["dstack_core"], "")


def test_observer_that_raises_is_logged_with_its_name(site):
    site.home.mkdir(mode=0o700)
    site.add("one", HEAD + "@hookimpl\ndef dstack_run_started(event): raise SystemExit(9)\n", version="4.2")
    site.add("two", WRITING)
    _, _, logged = tell(site)
    assert "dstack.plugins plugin one (dstack-one 4.2) raised in dstack_run_started" in logged
    assert "SystemExit: 9" in logged
    assert told(site, "two")[-2] == "finished"


def test_observer_that_hangs_holds_up_nobody(site):
    site.home.mkdir(mode=0o700)
    site.add("one", HEAD + "import time\n@hookimpl\ndef dstack_run_started(event): time.sleep(1e9)\n")
    site.add("two", WRITING)
    site.rows()
    _, _, logged = tell(site, timeout=10)
    assert "plugin one (dstack-one 1.0) did not finish in time" in logged
    assert told(site, "two")[-2] == "finished"


def test_observer_that_cannot_be_loaded_is_logged(site):
    site.add("one", "import no_such_module\ndef dstack_run_started(event): pass\n")
    _, modules, logged = tell(site)
    assert "plugin one (dstack-one 1.0) is not told about runs: ModuleNotFoundError" in logged
    assert modules == ["dstack_core"]


FINISHED = """
from dstack_core._cli.context import Context
from dstack_core._plugins import Plugins
from dstack_core.models import RunEvent
Context(Plugins.of_user())._tell(RunEvent("r-1", "train", "done", 1.0))
"""


def eventually(path, text):
    until = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < until, f"{path} never had {text}"
        time.sleep(0.05)


def test_command_that_ends_a_run_is_untouched_by_observers(site):
    site.home.mkdir(mode=0o700)
    site.add("one", WRITING)
    site.add("noisy", HEAD + "@hookimpl\ndef dstack_run_finished(event):\n    print('noise'); raise OSError('odd')\n")
    site.add("stuck", HEAD + "import time\n@hookimpl\ndef dstack_run_finished(event): time.sleep(1e9)\n")
    site.add("gone", "raise SystemExit(3)  # dstack_run_finished")
    done = site.python(FINISHED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    eventually(site.home / "one.txt", "finished")
    eventually(site.home / "plugins.log", "OSError: odd")
    eventually(site.home / "plugins.log", "plugin gone (dstack-gone 1.0) is not told about runs")


def test_command_that_ends_a_run_starts_no_process_for_nobody(site):
    site.add("good")
    code = FINISHED + "from dstack_core._plugins import messenger\nprint(messenger._sent)"
    done = site.python(code, DSTACK_DISABLED_PLUGINS="notify")  # an observer, in a developer's environment
    assert done.stdout == "[]\n"
