"""A real browser for tests, without a window: Debian's Chromium, driven by Playwright.

It looks at pages as a user does. Pictures of them go to docs/images if DSTACK_PICTURES is set, and nowhere otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker_engine import which

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1100, 700)
"""Of the window, and so of pictures, in pixels."""
PATIENCE = 60.0
"""Seconds that Playwright waits for whatever a test asks it for."""
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
)  # fmt: skip


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[BrowserContext]:
    """A fresh profile of a browser: `browser.new_page()`. It ends with the test, whatever the test left open."""
    program = next((found for name in PROGRAMS if (found := which(name))), None)
    if program is None:
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    # The mark: an executor under test takes a child of this process that has none for what a job left.
    monkeypatch.setenv("DSTACK_TEST_BROWSER", "1")
    # Not once for all tests: while Playwright is there, an event loop runs in this thread, and nobody else may run one.
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            context = chromium.new_context(viewport={"width": SIZE[0], "height": SIZE[1]}, locale="en-US")
            context.set_default_timeout(PATIENCE * 1000)
            yield context
        finally:
            chromium.close()


def picture(page: Page, name: str) -> None:
    """Keep what the page shows as docs/images/NAME.png, when pictures are asked for."""
    if os.environ.get("DSTACK_PICTURES"):
        page.screenshot(path=IMAGES / f"{name}.png", animations="disabled", caret="hide", scale="css")
