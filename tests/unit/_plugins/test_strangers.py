"""Whatever is installed: other commands print the same bytes, and `dstack plugins` says what is wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

HEAD = "from dstack_core.hookspecs import Entry, hookimpl\n"
HOOK = HEAD + "@hookimpl\ndef dstack_providers():"
PARTIAL = HEAD + (
    "def load():\n"
    "    from dstack_core.provider import Provider\n"
    "    class Half(Provider):\n"
    "        def properties(self): ...\n"
    "    return Half\n"
    "@hookimpl\n"
    "def dstack_providers(): return [Entry('stranger', 'Half', load)]\n"
)
NO_CORE_HOOK = "@hookimpl\ndef {0}(): return []\n"

STRANGERS: dict[str, tuple[dict[str, Any], str, str]] = {
    # what: how it is installed, its state, and a part of the reason
    "import error": (
        {"source": "import no_such_module_anywhere"},
        "failed",
        "No module named 'no_such_module_anywhere'",
    ),
    "import error place": (
        {"source": "\n\nimport no_such_module_anywhere"},
        "failed",
        "error_place.py:3",
    ),
    "syntax error": ({"source": "def def"}, "failed", "SyntaxError: invalid syntax"),
    "exits": ({"source": "import sys; sys.exit(3)"}, "failed", "SystemExit: 3"),
    "ends the process": ({"source": "import os; os._exit(7)"}, "failed", "exit code 7"),
    "is killed": ({"source": "import os; os.kill(os.getpid(), 11)"}, "failed", "signal 11"),
    "base exception": ({"source": "class E(BaseException): pass\nraise E('boo')"}, "failed", "E: boo"),
    "assertion": ({"source": "assert False, 'no good'"}, "failed", "AssertionError: no good"),
    "unreadable error": (
        {"source": "class E(Exception):\n def __str__(self): raise ValueError\nraise E()"},
        "failed",
        "its message cannot be read",
    ),
    "interrupt": ({"source": "raise KeyboardInterrupt"}, "failed", "KeyboardInterrupt"),
    "misspelt hook": (
        {"source": HEAD + NO_CORE_HOOK.format("dstack_provders")},
        "failed",
        "`dstack_provders` is no hook of dstack; did you mean `dstack_providers`?",
    ),
    "misspelt and unmarked": (
        {"source": "def dstack_provders(): return []"},
        "failed",
        "did you mean `dstack_providers`, with `@hookimpl`?",
    ),
    "unmarked": ({"source": "def dstack_providers(): return []"}, "failed", "`dstack_providers` lacks `@hookimpl`"),
    "unknown argument": (
        {"source": HEAD + "@hookimpl\ndef dstack_job_changed(evnt): pass"},
        "failed",
        "evnt",
    ),
    "no hook": ({"source": "x = 1"}, "failed", "implements no hook"),
    "not a module": ({"source": "x = 1", "value": "dstack_not_a_module:x"}, "failed", "must name a module"),
    "no value": ({"source": "", "value": " "}, "failed", "malformed"),
    "hook raises": (
        {"source": HEAD + "@hookimpl\ndef dstack_providers(): raise OSError('odd')"},
        "failed",
        "OSError: odd",
    ),
    "no list": (
        {"source": HOOK + " return 3"},
        "failed",
        "must return a list of Entry",
    ),
    "no entries": ({"source": HOOK + " return ['x']"}, "failed", "list of Entry"),
    "partial interface": ({"source": PARTIAL}, "failed", "lacks `job_spec` of Provider"),
    "too new": ({"requires": ("dstack-core>=99",)}, "incompatible", "it needs `dstack-core>=99`"),
    "too old": ({"requires": ("dstack_core<0.1",)}, "incompatible", "it needs `dstack_core<0.1`"),
    "odd range": ({"requires": ("dstack-core ~=0.0.1",)}, "incompatible", "~=0.0.1"),
    "no range": ({"requires": ("dstack-core about 1",)}, "incompatible", "cannot be read"),
}


COMMANDS = (["--help"], ["--version"], ["no-such-command"], ["plugins", "--help"], [])


def outcomes(site):
    done = [site.run(*command) for command in COMMANDS]
    return [(d.returncode, d.stdout, d.stderr) for d in done]


@pytest.fixture(scope="module")
def crowd(new_site):
    """All strangers installed at once: their rows, and what commands printed without them, with them, and after the
    catalog learned about them."""
    site = new_site()
    bundled = site.rows()  # first: from then on it is known which plugins have commands, and `--help` has them
    before = outcomes(site)
    for what, (how, _, _) in STRANGERS.items():
        site.add(slug(what), **how)
    during = outcomes(site)
    rows = site.rows()
    return before, during, outcomes(site), bundled, rows


def slug(what):
    return what.replace(" ", "-")


def test_strangers_change_no_other_command(crowd):
    before, during, after, _, _ = crowd
    assert during == before
    assert after == before


@pytest.mark.parametrize("what", STRANGERS)
def test_stranger_is_reported(crowd, what):
    row = crowd[-1][slug(what), f"dstack-{slug(what)}"]
    _, state, reason = STRANGERS[what]
    assert (row["state"], row["version"]) == (state, "1.0")
    assert reason in str(row["reason"])


def test_strangers_change_no_other_row(crowd):
    _, _, _, bundled, rows = crowd
    assert bundled.items() <= rows.items()
    assert len(rows) == len(bundled) + len(STRANGERS)


def test_plugin_that_prints_is_ok_and_silent(site):
    printing = (
        HEAD
        + """
import os, sys, subprocess
print("noise"); print("noise", file=sys.stderr); os.write(1, b"noise"); subprocess.run(["echo", "noise"])
sys.stdout = sys.stderr
@hookimpl
def dstack_commands():
    print("noise")
    def load():
        import click
        print("noise")
        return click.Command("stranger", callback=lambda: click.echo("hello"))
    return [Entry("stranger", "Says hello", load)]
"""
    )
    site.rows()
    before = outcomes(site)
    site.add("stranger", printing)
    assert outcomes(site) == before
    done = site.run("stranger")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
    row = site.rows()["stranger", "dstack-stranger"]
    assert (row["state"], row["provides"]) == ("ok", {"command": ["stranger"]})


def test_plugin_that_hangs_freezes_nothing_and_is_reported(site):
    site.rows()
    before = outcomes(site)
    site.add("stranger", "import time\ntime.sleep(1e9)\n")
    assert outcomes(site) == before
    row = site.rows()["stranger", "dstack-stranger"]
    assert row["state"] == "failed"
    assert "still loading after 10 s" in str(row["reason"])
    assert "dstack_stranger.py:2" in str(row["reason"])
    assert outcomes(site) == before


def test_two_distributions_with_one_name(site):
    site.add("twin", distribution="dstack-twin-a")
    site.add("twin", distribution="dstack-twin-b", version="2.0")
    rows = site.rows()
    for distribution in ("dstack-twin-a", "dstack-twin-b"):
        row = rows["twin", distribution]
        assert row["state"] == "duplicate"
        assert "dstack-twin-a 1.0 and dstack-twin-b 2.0" in str(row["reason"])
    done = site.run("twin")
    assert done.returncode == 69
    assert "plugin twin is duplicate" in done.stderr
    assert "dstack-twin-a 1.0 and dstack-twin-b 2.0" in done.stderr
    for disabled in ("dstack-twin-a", "dstack-twin-b"):
        done = site.run("twin", DSTACK_DISABLED_PLUGINS=disabled)
        assert (done.returncode, done.stdout) == (0, "hello from twin\n")


def test_good_plugin_brings_its_command(site):
    site.add("good")
    done = site.run("good")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello from good\n", "")
    assert site.rows()["good", "dstack-good"] == {
        "name": "good",
        "distribution": "dstack-good",
        "version": "1.0",
        "state": "ok",
        "reason": None,
        "provides": {"command": ["good"]},
    }
    assert re.search("^  good +Says hello$", site.run("--help").stdout, re.MULTILINE)


def test_help_forgets_an_uninstalled_plugin(site):
    site.add("good")
    site.rows()
    (site.folder / "dstack_good-1.0.dist-info").rename(site.folder / "gone")
    assert "Says hello" not in site.run("--help").stdout


def test_failure_of_a_needed_plugin_is_the_error(site):
    site.add("stranger", "import no_such_module_anywhere")
    done = site.run("stranger")
    assert (done.returncode, done.stdout) == (69, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("error: plugin stranger (dstack-stranger 1.0) is failed: ModuleNotFoundError: No module")
    assert second.startswith("hint: ")
    assert "Traceback" in site.run("--debug", "stranger").stderr


def test_command_of_a_plugin_that_raises_is_the_plugins_fault(site):
    raising = HEAD + (
        "import click\n"
        "def fail(): raise RuntimeError('odd')\n"
        "@hookimpl\n"
        "def dstack_commands(): return [Entry('stranger', 's', lambda: click.Command('stranger', callback=fail))]\n"
    )
    site.add("stranger", raising)
    done = site.run("stranger")
    assert done.returncode == 69
    assert "error: plugin stranger (dstack-stranger 1.0) failed: RuntimeError: odd" in done.stderr


@pytest.mark.parametrize(
    ("args", "environ", "config"),
    [
        (["--no-plugins"], {}, ""),
        ([], {"DSTACK_DISABLED_PLUGINS": "x, good"}, ""),
        ([], {"DSTACK_DISABLED_PLUGINS": "Dstack.Good"}, ""),
        ([], {}, "plugins: {disable: [good]}"),
        ([], {}, "plugins:\n  allow: [local, dstack-provider-bash]"),
    ],
)
def test_switches(site, args, environ, config):
    site.add("good")
    site.rows()
    site.home.mkdir(exist_ok=True)
    (site.home / "config.yaml").write_text(config)
    done = site.run(*args, "good", **environ)
    assert done.returncode == 69
    assert "plugin good (dstack-good 1.0) is disabled: " in done.stderr
    assert "Says hello" not in site.run(*args, "--help", **environ).stdout
    done = site.run(*args, "plugins", "--json", **environ)
    assert {row["name"]: row["state"] for row in json.loads(done.stdout)}["good"] == "disabled"


def test_config_of_the_repository_is_not_read(site):
    site.add("good")
    for folder in (site.folder.parent, site.folder.parent / ".dstack"):
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text("plugins: {disable: [good]}")
    assert site.run("good").returncode == 0


def test_broken_config_names_file_and_line_and_spares_help(site):
    before = site.run("--help")
    site.home.mkdir(exist_ok=True)
    (site.home / "config.yaml").write_text("a: 1\nplugins: [unclosed\n")
    done = site.run("plugins")
    assert done.returncode == 65
    assert f"error: {site.home}/config.yaml:3:1: " in done.stderr
    assert site.run("--help").stdout == before.stdout


def test_broken_config_spares_help_that_knows_of_plugins(site):
    before = site.run("--help")
    site.add("good")
    site.rows()
    (site.home / "config.yaml").write_text("plugins: 3")
    after = site.run("--help")
    assert (after.returncode, after.stdout, after.stderr) == (0, before.stdout, "")
    assert site.run("good").returncode == 65
