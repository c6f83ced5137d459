"""The CI machine takes skipped tests as failed, except for what a conformance suite's subject need not offer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

@pytest.fixture
def strace():
    pytest.skip("no strace")

@pytest.mark.skipif(True, reason="no strace")
def test_mark(): pass

def test_call(): pytest.skip("no strace")

def test_fixture(strace): pass

def test_optional():
    from dstack_core.testing import suite
    suite.not_offered()

@pytest.mark.xfail(strict=True)
def test_expected_failure(): assert False
"""


def _outcomes(folder: Path, ci: str) -> tuple[str, set[str]]:
    """How pytest ended with TESTS and a module that is skipped whole; and its summary's lines, less their reasons."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "test_some.py").write_text(TESTS)
    testing = folder / "dstack_core" / "testing"
    testing.mkdir(parents=True)
    (testing.parent / "__init__.py").touch()
    (testing / "__init__.py").touch()
    (testing / "suite.py").write_text("import pytest\ndef not_offered(): pytest.skip('not a SupportsAppend')\n")
    (folder / "test_module.py").write_text("import pytest\npytest.importorskip('there_is_no_such_module')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTHONPATH": ".", "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    return lines[-1], {
        line.split(" - ")[0] for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED", "XFAIL"))
    }


def test_ci_fails_what_was_skipped(tmp_path):
    closing, lines = _outcomes(tmp_path, "true")
    assert "1 failed, 1 skipped, 1 xfailed, 3 errors" in closing
    assert lines >= {
        "FAILED test_some.py::test_call",
        "ERROR test_some.py::test_mark",
        "ERROR test_some.py::test_fixture",
    }


def test_elsewhere_a_skip_is_a_skip(tmp_path):
    closing, _ = _outcomes(tmp_path, "")
    assert "5 skipped, 1 xfailed" in closing
