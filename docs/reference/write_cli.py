"""Writes docs/reference/cli.md from the help texts of the commands: `.venv/bin/python docs/reference/write_cli.py`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
INTRO = """# Command line

Made from `--help` by `docs/reference/write_cli.py`; a test compares the two. Every listing has `--json`. Exit codes are
on [a page of their own](exit-codes.md).

Your shell [can complete names](../how-to/complete-names.md) of commands, options, workflows, runs, jobs and tags.
"""


def commands() -> list[list[str]]:
    """What to ask for help: the program, each command of core, and the subcommands of those that have some."""
    from dstack_core._cli.commands import COMMANDS

    asked: list[list[str]] = [[]]
    for entry in COMMANDS:
        command = entry.load()
        asked.append([entry.name])
        asked += [[entry.name, name] for name in getattr(command, "commands", {})]
        if entry.name == "run":
            asked.append(["run", "bash"])
    return asked


def help_of(command: list[str]) -> str:
    """The help text, 100 columns wide, whatever the terminal."""
    with tempfile.TemporaryDirectory() as empty:
        env = {**os.environ, "DSTACK_HOME": f"{empty}/home", "COLUMNS": "100", "NO_COLOR": "1"}
        program = [sys.executable, "-m", "dstack_core._cli.main", *command, "--help"]
        done = subprocess.run(program, cwd=empty, env=env, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for command in commands():
        parts.append(f"\n## `{' '.join(['dstack', *command])}`\n\n```text\n{help_of(command)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
