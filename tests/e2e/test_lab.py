"""JupyterLab as people use it: in a browser, at the address that was printed. Edits, artifacts, and who gets in."""

from __future__ import annotations

import json
import re

import pytest
from browser import picture

CHANGES = 'import os; open("out/made.txt", "w").write("made"); print("six times seven is", 6 * 7)'


@pytest.fixture
def lab(project, jupyter):
    jupyter(project.home / "cache" / "jobs")
    project.write("train.py", "print('hello')\n")
    project.write("demo.ipynb", notebook("# A cell"))
    project.workflows("""
    - name: ide
      provider: lab
      artifacts: [out]
    """)
    yield project
    if not project.view().finished:
        project.dstack("stop", "--abort", "-y", project.run())
        project.finished()


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": None, "id": f"c{n}"}
            for n, cell in enumerate(cells)]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    return json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def address(project) -> str:
    """As `dstack open` prints it."""
    return project.dstack("open", "--no-browser", project.run()).out.strip()


def opened(browser, url: str, path: str):
    """The page, with a notebook of the checkout open in it and its kernel ready."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    page.get_by_role("listitem", name=re.compile(path)).dblclick()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    return page


def run_cell(page, code: str) -> str:
    """What the selected cell prints, once it has run; the next is selected then."""
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    number = page.locator(".jp-Notebook .jp-CodeCell").evaluate_all(
        "cells => cells.findIndex(cell => cell.classList.contains('jp-mod-selected'))"
    )
    cell = cells.nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
    return cell.locator(".jp-OutputArea").inner_text()


def test_edits_and_artifacts_are_saved_while_it_runs(lab, browser):
    lab.dstack("run", "-d", "ide")
    page = opened(browser, address(lab), "demo.ipynb")
    assert "six times seven is 42" in run_cell(page, CHANGES)
    python = run_cell(page, "import sys; print(sys.executable)\n!which python").split()
    assert python[0] == python[1], "the shell's Python is the kernel's"
    assert "/env/bin/python" in python[0], "and both are the job's"
    picture(page, "lab")
    page.keyboard.press("Control+s")

    def pulled() -> dict:
        lab.dstack("code", "pull", "-y", lab.run())
        return json.loads((lab.root / "demo.ipynb").read_text())["cells"][0]

    cell = lab.wait_for(lambda: (found := pulled())["outputs"] and found, "the notebook to come back")
    assert "".join(cell["source"]) == CHANGES
    assert cell["outputs"][0]["text"] == ["six times seven is 42\n"]
    assert lab.job("ide").status == "running"
    made = lab.artifact("ide", "out")
    assert (made / "made.txt").read_text() == "made"
    assert sorted(path.name for path in lab.root.iterdir()) == [".dstack", ".git", "demo.ipynb", "train.py"]
