"""What a cloud said is remembered for a while, and nothing that happens to the file does harm."""

from __future__ import annotations

import os
import time

import pytest

from dstack_core.cloud.cache import HOUR, remembered


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def ask(home):
    asked = []

    def ask(*about: str, answer: object = "said") -> object:
        def make() -> object:
            asked.append(about)
            return answer

        return remembered(about, make)

    ask.asked = asked
    return ask


def entry(home):
    (path,) = (home / "cache" / "cloud").iterdir()
    return path


def test_it_is_asked_once(ask, home):
    answer = {"a": [1, None, "b"]}
    assert ask("x", answer=answer) == answer
    assert ask("x", answer="other") == answer
    assert ask.asked == [("x",)]
    assert entry(home).stat().st_mode & 0o077 == 0


def test_other_questions_are_others(ask):
    assert [ask("x", "y", answer=1), ask("xy", answer=2), ask("x", answer=3)] == [1, 2, 3]


@pytest.mark.parametrize("age", [HOUR + 60, -60], ids=["too old", "of the future"])
def test_what_is_not_of_the_last_hour_is_asked_again(ask, home, age):
    ask("x", answer=1)
    when = time.time() - age
    os.utime(entry(home), (when, when))
    assert ask("x", answer=2) == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff"])
def test_a_damaged_file_is_asked_again(ask, home, damage):
    ask("x", answer=1)
    entry(home).write_bytes(damage)
    assert ask("x", answer=2) == 2
    assert ask("x", answer=3) == 2


def test_without_a_folder_to_write_in_it_is_asked_each_time(ask, home):
    (home / "cache").write_text("in the way")
    assert [ask("x", answer=1), ask("x", answer=2)] == [1, 2]


def test_what_fails_is_not_remembered(ask):
    with pytest.raises(ZeroDivisionError):
        remembered(("x",), lambda: 1 / 0)
    assert ask("x", answer=1) == 1
