"""An environment in which fake distributions can be installed, and `dstack` run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

GOOD = """
    from dstack_core.hookspecs import Entry, hookimpl

    def load():
        import click
        return click.Command("NAME", callback=lambda: click.echo("hello from NAME"))

    @hookimpl
    def dstack_commands():
        return [Entry("NAME", "Says hello", load)]
"""

BASIC = {"bash", "file", "local", "process"}
OTHERS = ",".join({entry.name for entry in entry_points(group="dstack.plugins")} - BASIC)
"""Plugins that are none of these tests' business: each takes a third of a second whenever all are looked into."""


class Site:
    """A folder on PYTHONPATH with `.dist-info` folders and modules, and a DSTACK_HOME beside it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "site"
        self.home = root / "home"
        self.folder.mkdir()
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DSTACK_", "PYTHON"))},
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DSTACK_HOME": str(self.home),
            "DSTACK_DISABLED_PLUGINS": OTHERS,
            "XDG_CACHE_HOME": str(root / "xdg"),
            "HOME": str(root),
        }

    def add(
        self,
        name: str,
        source: str = GOOD,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = ("dstack-core>=0.1,<99",),
        value: str | None = None,
        editable: bool = False,
    ) -> None:
        distribution = distribution or f"dstack-{name}"
        package = distribution.replace("-", "_")
        info = self.folder / f"{package}-{version}.dist-info"
        info.mkdir()
        headers = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        headers += [f"Requires-Dist: {line}" for line in requires]
        (info / "METADATA").write_text("\n".join(headers) + "\n\nRequires-Dist: not-a-header\n")
        (info / "entry_points.txt").write_text(f"[dstack.plugins]\n{name} = {value or package}\n")
        if editable:
            (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')
        self.write(f"{package}.py", source.replace("NAME", name))

    def write(self, path: str, source: str) -> None:
        (self.folder / path).write_text(textwrap.dedent(source))

    def run(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.python_command([sys.executable, "-m", "dstack_core._cli.main", *args], **environ)

    def python(self, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.python_command([sys.executable, "-c", textwrap.dedent(code)], **environ)

    def python_command(self, command: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**self.environ, **environ},
            cwd=self.folder.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def rows(self, **environ: str) -> dict[tuple[str, str], dict[str, object]]:
        """`dstack plugins --json`, by plugin and distribution."""
        done = self.run("plugins", "--json", **environ)
        assert done.returncode == 0, done.stderr
        return {(row["name"], row["distribution"]): row for row in json.loads(done.stdout)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Site]:
    return lambda: Site(tmp_path_factory.mktemp("site"))
