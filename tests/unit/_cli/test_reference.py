"""The reference pages have every status and every exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dstack_core import errors
from dstack_core._ledger.records import CLAIMED, FINISHED, WAITING

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def first_cells(page):
    rows = re.findall(r"^\| ([^|]+) \|", (REFERENCE / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {cell.strip() for cell in rows}


@pytest.mark.parametrize("status", sorted(FINISHED | WAITING | CLAIMED))
def test_every_status_is_explained(status):
    assert f"`{status}`" in first_cells("statuses.md")


@pytest.mark.parametrize("error", [errors.DstackError, *errors.DstackError.__subclasses__()])
def test_every_exit_code_is_explained(error):
    assert str(error.exit_code) in first_cells("exit-codes.md")


def test_no_page_explains_a_code_twice():
    cells = re.findall(r"^\| (\d+) \|", (REFERENCE / "exit-codes.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert cells == sorted(set(cells), key=int)
