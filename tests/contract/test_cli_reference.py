"""The page about the command line says what `--help` says."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "reference" / "write_cli.py"


def test_the_page_is_what_help_says():
    spec = importlib.util.spec_from_file_location("write_cli", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text() == script.page(), "write it anew: .venv/bin/python docs/reference/write_cli.py"
