"""Modules import alone and without warnings; the program starts without what it does not use; core names no plugin."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import dstack_core

ROOT = Path(dstack_core.__file__).parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages([str(ROOT)], "dstack_core.")
    if not module.name.endswith("__main__") and "pytest" not in module.name
)
HEAVY = [
    "pydantic",
    "yaml",
    "rich",
    "boto3",
    "botocore",
    "pathspec",
    "stevedore",
    "asyncio",
    "urllib.request",
    "importlib.metadata",
]
PLUGINS = sorted({entry.value.partition(".")[0] for entry in entry_points(group="dstack.plugins")})


def python(code, *options, **environ):
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=900)


def test_every_module_imports_alone():
    # Forked from a bare interpreter, because a hundred interpreters would take a minute to start.
    code = f"""
import os, sys, traceback
for module in {MODULES!r}:
    if os.fork() == 0:
        try:
            __import__(module)
        except BaseException:
            print("cannot import", module)
            traceback.print_exc()
            sys.stdout.flush(); os._exit(1)
        os._exit(0)
    os.wait()
"""
    done = python(code, "-W", "error", "-u")
    assert (done.stdout, done.stderr) == ("", "")
    assert len(MODULES) > 20


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["plugins", "--help"]])
def test_help_imports_nothing_heavy(args, tmp_path):
    code = f"""
import json, sys
from dstack_core._cli.main import run
code = run({args!r})
print(json.dumps([code, sorted(sys.modules)]))
"""
    done = python(code, DSTACK_HOME=str(tmp_path / "home"))
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert not {*HEAVY, *PLUGINS} & set(modules)
    assert not (tmp_path / "home").exists(), "asking for help leaves no trace"


def _imported(report: str) -> set[str]:
    """The modules in what `-X importtime` wrote."""
    return {line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:")}


def test_a_run_and_ps_import_nothing_that_they_do_not_use(tmp_path):
    project, home = tmp_path / "project", tmp_path / "home"
    (project / ".dstack").mkdir(parents=True)
    (project / ".dstack" / "workflows.yaml").write_text(
        "workflows:\n- {name: one, provider: bash, commands: ['true']}\n"
    )
    dstack = Path(sys.executable).with_name("dstack")
    environ = {**os.environ, "DSTACK_HOME": str(home), "PYTHONPROFILEIMPORTTIME": "1"}

    def imports(*args: str) -> set[str]:
        done = subprocess.run([dstack, *args], cwd=project, env=environ, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        modules = _imported(done.stderr)
        assert "click" in modules
        return modules

    imports("run", "one")
    never = {"rich", "boto3", "botocore", "dstack_aws", "pathspec", "asyncio", "urllib.request", "concurrent.futures"}
    # The second time: what the provider's pydantic model said is remembered.
    again = imports("run", "one")
    assert not {*never, "pydantic", "dstack_core._workflow.shell"} & again
    assert not {*never, "pydantic", "yaml", "dstack_core._workflow.load", *PLUGINS} - {"dstack_local"} & imports("ps")
    logs = list((home / "machines").glob("*.log"))
    assert len(logs) == 2
    for log in logs:
        runner = _imported(log.read_text())
        assert "dstack_core._runner.attempt" in runner
        assert not {*never, "pydantic", "yaml", "click", "dstack_core._cli", "dstack_core._content.saving"} & runner
        assert not [name for name in runner if name.startswith(("dstack_core._workflow", "dstack_provider_bash"))]


def test_plugins_are_installed_for_these_tests():
    assert len(PLUGINS) >= 2
    assert "dstack_aws" in PLUGINS


def test_what_is_not_asked_of_aws_needs_no_sdk():
    """Opening the stores, their plugins' entries and their settings."""
    code = """
import json, sys
from dstack_aws import s3_plugin, secrets_plugin
for plugin in (s3_plugin.dstack_artifact_stores(), secrets_plugin.dstack_secret_stores()):
    for entry in plugin:
        entry.settings()
        entry.load()({"bucket": "bucket"})
print(json.dumps(sorted(sys.modules)))
"""
    done = python(code)
    modules = json.loads(done.stdout)
    assert "dstack_aws.secrets_store" in modules
    assert not [name for name in modules if name.partition(".")[0] in ("boto3", "botocore", "urllib3")], done.stderr


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_knows_no_plugin(path):
    code = path.read_text()
    if path.name == "hookspecs.py":  # its docstrings show how the bundled plugins do it
        code = re.sub(r'"""(.|\n)*?"""', "", code)
    named = [package for package in PLUGINS if re.search(rf"\b{package}\b", code)]
    assert named == []
    assert not re.search(r"isinstance\([^)]*(Local|Bash|Folder|Process)[A-Z]\w*\)", code)
