"""Files that mean harm: bombs, cycles, depth, tags, encodings, size. The benchmark has them and their times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench" / "hostile.py"
READ = {"10,000 anchors", "a line of 9 MB", "a BOM", "two BOMs", "merges of merges", "a number of 1 MB"}
"""Those that are only large or odd; what is wrong with a value is told when its workflow is asked for."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, whose limits on memory hold")
def test_each_is_refused_or_read_in_64_mb():
    done = subprocess.run([sys.executable, BENCH, "--memory-only"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert {line[:26].strip() for line in lines if line.endswith("  read")} == READ
    assert len(lines) > 20
