"""docs/explanation/faults.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "faults.md"
NAMED = re.findall(r"`([\w./-]+\.py)::(\w+)`", PAGE.read_text())


def test_every_line_has_a_test_that_exists():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "what holds" not in line]
    assert [line for line in lines if "::test_" not in line] == []
    missing = [f"{path}::{name}" for path, name in NAMED if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []
