"""The checks that read the source: style, format, types, and which room may import which."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CHECKS = {
    "style": ["ruff", "check", "--quiet", "."],
    "format": ["ruff", "format", "--check", "--quiet", "--diff", "."],
    "types": ["mypy", "--no-error-summary"],
    "imports": ["lint-imports", "--no-logo"],
}


@pytest.mark.parametrize("check", CHECKS)
def test_source(check):
    tool, *arguments = CHECKS[check]
    program = Path(sys.executable).with_name(tool)
    done = subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(CHECKS[check])}\n{done.stdout}{done.stderr}", pytrace=False)
