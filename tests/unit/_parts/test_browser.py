"""The browser of the tests: a page, a click, a picture when it is asked for."""

from __future__ import annotations

import asyncio

import browser as parts

PAGE = "data:text/html,<button onclick=\"this.textContent='after'\">before</button>"


def test_a_click_is_seen_and_a_picture_is_made_on_request(browser, monkeypatch, tmp_path):
    page = browser.new_page()
    page.goto(PAGE)
    page.get_by_role("button", name="before").click()
    assert page.get_by_role("button").text_content() == "after"
    monkeypatch.setattr(parts, "IMAGES", tmp_path)
    monkeypatch.delenv("DSTACK_PICTURES", raising=False)
    parts.picture(page, "button")
    assert not (tmp_path / "button.png").exists()
    monkeypatch.setenv("DSTACK_PICTURES", "1")
    parts.picture(page, "button")
    assert (tmp_path / "button.png").read_bytes().startswith(b"\x89PNG")


def test_afterwards_this_thread_has_no_event_loop():
    assert asyncio.run(asyncio.sleep(0, "ran")) == "ran"
