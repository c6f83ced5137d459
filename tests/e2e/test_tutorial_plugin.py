"""The plugin that docs/how-to/write-a-plugin.md writes: its blocks, as they stand there, built, installed and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-plugin.md"
FILE = re.compile(r"^```\w+ title=(\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
USERS = (".dstack/workflows.yaml", "Makefile")


class Reader:
    """Somebody who follows the page: the plugin's package, a place where it is installed, and a project."""

    def __init__(self, folder: Path) -> None:
        self.package, self.project, self.site = folder / "package", folder / "project", folder / "site"
        for title, text in FILE.findall(PAGE.read_text(encoding="utf-8")):
            path = (self.project if title in USERS else self.package) / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSTACK_", "PYTEST_"))}
        self.env = {**kept, "DSTACK_HOME": str(folder / "home"), "PYTHONPATH": str(self.site)}
        self.run(
            self.package, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target", self.site, "."
        )

    def run(self, folder: Path, *arguments: str | Path) -> str:
        """What Python prints with these arguments, in that folder."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dstack(self, *arguments: str) -> str:
        return self.run(self.project, "-m", "dstack_core._cli.main", *arguments)


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


def test_the_plugin_is_listed(reader):
    plugins = {p["name"]: p for p in json.loads(reader.dstack("plugins", "--json"))}
    assert plugins["make"]["state"] == "ok", plugins["make"]
    assert plugins["make"]["distribution"] == "dstack-provider-make"


def test_the_workflow_runs(reader):
    if shutil.which("make") is None:
        pytest.skip("needs make")
    assert "never run" in reader.dstack("plan", "report")
    assert "hello, world" in reader.dstack("run", "report")
    assert "hello, you" in reader.dstack("run", "report", "WHO=you")
    shown = reader.dstack("run", "report", "--help")
    assert "--makefile" in shown
    assert "by default the Makefile's first target" in " ".join(shown.split())


def test_its_own_tests_pass(reader):
    said = reader.run(reader.package, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert re.search(r"^\d\d passed", said, re.MULTILINE), said
