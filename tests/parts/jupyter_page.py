"""JupyterLab as a user sees it: its address, and notebooks in a browser."""

from __future__ import annotations

import json
import re

PRINTED = re.compile(r"http://127\.0\.0\.1:\d+/\w+\?token=([0-9a-f]{32})")


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": None, "id": f"c{n}"}
            for n, cell in enumerate(cells)]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    return json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def opened(browser, url: str, path: str):
    """The page, with a notebook of the checkout open in it and its kernel ready."""
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    page.get_by_role("listitem", name=re.compile(path)).dblclick()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    return page


def start_cell(page, code: str):
    """Run code in the selected cell; the next is selected then."""
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    selected = "cells => cells.findIndex(cell => cell.classList.contains('jp-mod-selected'))"
    cell = cells.nth(cells.evaluate_all(selected))
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    return cell


def run_cell(page, code: str) -> str:
    """What code prints in the selected cell, once it has run."""
    cell = start_cell(page, code)
    cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
    return cell.locator(".jp-OutputArea").inner_text()
