"""`dstack plugins doctor` finds what is wrong with the installation."""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points

import pytest


def diagnose(site, **environ):
    # Plugins that are installed are none of this test's business.
    installed = ",".join(entry.name for entry in entry_points(group="dstack.plugins"))
    done = site.run("plugins", "doctor", "--json", DSTACK_DISABLED_PLUGINS=installed, **environ)
    return done.returncode, json.loads(done.stdout)


def test_nothing_wrong(site):
    site.add("good")
    assert diagnose(site) == (0, [])


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"requires": ("dstack-core", "no-such-thing-x>=1")}, "it needs `no-such-thing-x>=1`, which is not installed"),
        ({"requires": ("dstack-core", "pluggy>=99")}, "it needs `pluggy>=99`, and pluggy "),
        ({"requires": ("pluggy",)}, "it does not say which versions of dstack-core it works with"),
        ({"requires": ("dstack-core", "click ???")}, "its requirement `click ???` cannot be read"),
        ({"source": "import no_such_module"}, "failed: ModuleNotFoundError: No module named 'no_such_module'"),
        ({"requires": ("dstack-core>=99",)}, "incompatible: it needs `dstack-core>=99`"),
    ],
)
def test_problem(site, how, problem):
    site.add("x", **how)
    code, problems = diagnose(site)
    assert code == 69
    assert any(problem in found["problem"] and "dstack-x 1.0" in found["subject"] for found in problems), problems
    assert all(found["hint"] for found in problems)


def test_optional_dependencies_are_not_missed(site):
    site.add("x", requires=("dstack-core", 'no-such-thing; extra == "more"', 'no-such-thing; python_version < "3"'))
    assert diagnose(site) == (0, [])


def test_core_without_what_it_brings_along(site):
    (site.folder / "dstack_core-0.1.0.dist-info").mkdir()
    headers = "Metadata-Version: 2.1\nName: dstack-core\nVersion: 0.1.0\nRequires-Dist: dstack-bundled<2,>=1\n"
    site.write("dstack_core-0.1.0.dist-info/METADATA", headers)
    assert diagnose(site) == (
        69,
        [
            {
                "subject": "dstack-core 0.1.0",
                "problem": "it needs `dstack-bundled<2,>=1`, which is not installed",
                "hint": "pip install 'dstack-bundled<2,>=1'",
            }
        ],
    )


def test_hidden_and_unreachable_commands(site):
    site.add("plugins", distribution="dstack-one")
    entry = "from dstack_core.hookspecs import Entry, hookimpl\nimport click\n"
    hook = "@hookimpl\ndef dstack_commands(): return [Entry('other', 's', lambda: click.Command('other'))]\n"
    site.add("named", entry + hook)
    code, problems = diagnose(site)
    assert code == 69
    found = [problem["problem"] for problem in problems]
    assert any("its command plugins is hidden by dstack's own" in problem for problem in found)
    assert any("its command other cannot be found" in problem for problem in found)


# stevedore keeps no cache for an interpreter under /tmp, where this checkout may be.
STALE = """
import sys
sys.executable = "/elsewhere/python"
from dstack_core._plugins.doctor import _stale_cache
from dstack_core._plugins.listing import list_plugins
print([problem.problem for problem in _stale_cache(list_plugins())])
"""


def test_stale_cache_of_entry_points(site):
    site.add("good")
    assert site.python(STALE).stdout == "[]\n"
    (cached,) = (site.folder.parent / "xdg" / "python-entrypoints").iterdir()
    data = json.loads(cached.read_text())
    data["groups"]["dstack.plugins"] = [["gone", "gone_module", "dstack.plugins"]]
    cached.write_text(json.dumps(data))
    told = site.python(STALE).stdout
    assert "is stale: it is wrong about " in told
    assert {"bash", "gone", "good"} <= set(re.findall(r"\w+", told.partition("wrong about")[2]))
    assert site.run("good").returncode == 0
