"""What `pip install dstack-core` gives: the wheels of this repository, installed by name where nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT, *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]

WORKFLOWS = """
workflows:
  - name: answer
    provider: bash
    commands:
      - echo 42 > out/answer.txt
    artifacts:
      - path: ./out
  - name: show
    provider: bash
    deps:
      - workflow: answer
    commands:
      - echo "the answer is $(cat out/answer.txt)"
"""


class Installation:
    """A virtual environment and a home folder, both empty at first, and a project with two workflows."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.project = folder / "project"
        (self.project / ".dstack").mkdir(parents=True)
        (self.project / ".dstack" / "workflows.yaml").write_text(WORKFLOWS)
        (folder / "home").mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSTACK_", "PYTHON", "VIRTUAL_ENV"))}
        self.env = {**kept, "HOME": str(folder / "home"), "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}
        self.run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")

    def run(self, *command: str | Path, expect: int = 0) -> str:
        """What `command` prints, stdout then stderr; its exit code must be `expect`."""
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def pip(self, *arguments: str | Path) -> str:
        return self.run(sys.executable, "-m", "pip", "--python", self.bin / "python", *arguments)

    def dstack(self, *arguments: str, expect: int = 0) -> str:
        return self.run(self.bin / "dstack", *arguments, expect=expect)


@pytest.fixture
def here(tmp_path):
    return Installation(tmp_path)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with the wheels of core and all plugins, each built from its source distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, project],
            check=True, capture_output=True, env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
    return folder


def _versions(here: Installation) -> dict[str, str]:
    return {d["name"]: d["version"] for d in json.loads(here.pip("list", "--format=json"))}


def _requirements(here: Installation) -> list[str]:
    """What dstack-core asks for when no extra is asked for."""
    show = "from importlib.metadata import requires; print(*requires('dstack-core'), sep='\\n')"
    return [line for line in here.run(here.bin / "python", "-c", show).splitlines() if ";" not in line]


def test_core_brings_what_a_first_pipeline_needs(here, wheels):
    here.pip("install", "-q", "--find-links", wheels, "dstack-core")

    installed = _versions(here)
    built = {name: version for name, version, *_ in (w.name.split("-") for w in wheels.glob("*.whl"))}
    for name in ("dstack-core", "dstack-local", "dstack-provider-bash"):
        assert installed[name] == built[name.replace("-", "_")]
    assert here.dstack("--version").strip().endswith(installed["dstack-core"])
    plugins = {p["name"]: p for p in json.loads(here.dstack("plugins", "--json"))}
    assert plugins.keys() >= {"bash", "local", "process"}
    assert {p["state"] for p in plugins.values()} == {"ok"}

    assert "the answer is 42" in here.dstack("run", "show")
    assert "reuse" in here.dstack("run", "show")


def test_core_alone_tells_what_is_missing(here, wheels):
    here.pip("install", "-q", "--no-deps", "--find-links", wheels, "--no-index", "dstack-core")
    ours = ("dstack-local", "dstack-provider-bash")
    here.pip("install", "-q", *(r for r in _requirements(here) if not r.startswith(ours)))
    assert not _versions(here).keys() & set(ours)

    assert "Usage: dstack" in here.dstack("--help")
    assert json.loads(here.dstack("plugins", "--json")) == []
    assert "dstack-provider-bash" in here.dstack("plugins", "doctor", expect=69)
    for command in (["run", "show"], ["run", "bash", "-c", "echo hi"], ["ps"]):
        said = here.dstack(*command, expect=69)
        assert "pip install dstack-" in said
        assert "Traceback" not in said
