"""Capabilities by name: what is imported for them, and the errors when they cannot be had."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

HEAD = "from dstack_core.hookspecs import Entry, hookimpl\n"
PROVIDER = (
    HEAD
    + """
def load():
    from dstack_core.provider import Provider
    class Fake(Provider):
        def properties(self): ...
        def job_spec(self, workflow): ...
    return Fake
@hookimpl
def dstack_providers():
    return [Entry("OFFERED", "Fake", load)]
"""
)
ASK = """
import json, sys
from dstack_core._plugins import Plugins
from dstack_core.errors import DstackError
plugins = Plugins.of_user()
try:
    made = type(getattr(plugins, {kind!r})({name!r})).__name__
    hint = None
except DstackError as error:
    made, hint = str(error), error.hint
print(json.dumps([made, hint, sorted(m for m in sys.modules if m.startswith("dstack_"))]))
"""


def provider(name):
    return PROVIDER.replace("OFFERED", name)


def ask(site, name, kind="provider", **environ):
    done = site.python(ASK.format(kind=kind, name=name), **environ)
    assert done.returncode == 0, done.stderr
    made, hint, modules = json.loads(done.stdout)
    return made, hint, [m for m in modules if "." not in m and m != "dstack_core"]


def test_only_the_plugin_of_that_name_is_imported(site):
    for name in ("one", "two", "three"):
        site.add(name, provider(name))
    assert ask(site, "two") == ("Fake", None, ["dstack_two"])


def test_other_plugins_are_asked_when_none_has_the_name(site):
    site.add("one", provider("two"))
    site.add("three", "import time; time.sleep(1e9)", requires=("dstack-core>=99",))
    assert ask(site, "two") == ("Fake", None, ["dstack_one"])
    assert ask(site, "two") == ("Fake", None, ["dstack_one"])


def test_other_plugins_are_asked_when_the_one_of_that_name_has_no_such_capability(site):
    site.add("two")  # a command
    site.add("one", provider("two"))
    made, _, _ = ask(site, "two")
    assert made == "Fake"


def test_clash_names_both_packages(site):
    site.add("one", provider("same"))
    site.add("two", provider("same"), version="2.0")
    made, hint, _ = ask(site, "same")
    expected = "there are 2 providers called same: in dstack-one 1.0 (plugin one) and dstack-two 2.0 (plugin two)"
    assert (made, hint) == (expected, "disable one: DSTACK_DISABLED_PLUGINS=two")
    assert ask(site, "same", DSTACK_DISABLED_PLUGINS="two")[0] == "Fake"


def test_clash_with_the_plugin_of_that_name_once_it_is_known(site):
    site.add("one", provider("one"))
    site.add("two", provider("one"))
    site.rows()
    assert "there are 2 providers called one" in ask(site, "one")[0]
    doctor = site.run("plugins", "doctor")
    assert doctor.returncode == 69
    assert "provider one: there are 2 providers called one" in doctor.stdout


@pytest.mark.parametrize(
    ("kind", "name", "message", "hint"),
    [
        (
            "provider",
            "bsh",
            "no installed plugin has provider bsh",
            "did you mean bash? If not: pip install dstack-provider-bsh",
        ),
        ("backend", "gcp", "no installed plugin has backend gcp", "pip install dstack-gcp"),
        (
            "backend",
            "gcpp",
            "no installed plugin has backend gcpp",
            "did you mean gcp? If so: pip install dstack-gcp",
        ),
        ("artifact_store", "gcs", "no installed plugin has artifact store gcs", "pip install dstack-gcp"),
        ("secret_store", "odd", "no installed plugin has secret store odd", "pip install dstack-odd"),
    ],
)
def test_missing_capability_says_what_to_install(site, kind, name, message, hint):
    made, told, _ = ask(site, name, kind)
    assert made.startswith(message)
    assert told == hint


def test_provider_runs_without_a_workflow_whatever_its_plugin_is_called(site):
    provider = (
        "from dstack_core.hookspecs import Entry, hookimpl\n"
        "def load():\n"
        "    from pydantic import BaseModel\n"
        "    from dstack_core.models import JobSpec\n"
        "    from dstack_core.provider import Provider\n"
        "    class Multi(Provider):\n"
        "        def properties(self): return type('Properties', (BaseModel,), {})\n"
        "        def job_spec(self, workflow): return JobSpec(('true',))\n"
        "    return Multi\n"
        "@hookimpl\n"
        "def dstack_providers(): return [Entry('multi', 'One of several', load)]\n"
    )
    site.add("several", provider)
    done = site.run("plan", "multi")
    assert (done.returncode, done.stderr) == (0, "")
    assert "multi  run" in done.stdout


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        ("int", "lacks `job_spec`, `properties` of Provider"),
        ("3", "loads to int, which cannot be called to make a Provider"),
        ("lambda: 3", "it made int, which is no Provider"),
        ("print(1 / 0)", "ZeroDivisionError"),
        ("exit(5)", "SystemExit: 5"),
        ("lambda: exit(5)", "SystemExit: 5"),
        ("lambda: 1 / 0", "ZeroDivisionError"),
    ],
)
def test_capability_that_is_not_what_it_says(site, load, reason):
    hook = f"@hookimpl\ndef dstack_providers(): return [Entry('x', 'x', lambda: {load})]\n"
    site.add("x", HEAD + hook, version="3.1")
    made, hint, _ = ask(site, "x")
    assert made.startswith("provider x of plugin x (dstack-x 3.1) cannot be used: ")
    assert reason in made
    assert hint == "dstack plugins doctor"


def test_error_of_a_factory_meant_for_people_is_passed_on(site):
    raising = (
        HEAD
        + """
def make(settings):
    from dstack_core.errors import StoreError
    raise StoreError("the disk is full", hint="delete something")
@hookimpl
def dstack_artifact_stores(): return [Entry("x", "x", lambda: make)]
"""
    )
    site.add("x", raising)
    assert ask(site, "x", "artifact_store")[:2] == ("the disk is full", "delete something")


def test_slow_plugin_that_is_needed_is_named_and_can_be_interrupted(site):
    site.add("slow", "import time\ntime.sleep(1e9)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "dstack_core._cli.main", "slow"],
        env=site.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == "still loading plugin slow (dstack-slow 1.0); Ctrl+C to give up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_reader_that_goes_away_is_no_error(site):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "dstack_core._cli.main", "plugins", "--json"],
        env=site.environ,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_table_on_a_terminal(site, no_color, coloured):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dstack_core._cli.main", "plugins"]
    environ = {**site.environ, "TERM": "xterm-256color", "COLUMNS": "200", "NO_COLOR": no_color}
    subprocess.run(command, env=environ, stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert b"dstack-provider-bash" in shown
    assert (b"\x1b[32mok" in shown) is coloured


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
