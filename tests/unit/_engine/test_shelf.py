"""Parts of bundles are made once, and kept while they are used."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from dstack_core._engine import wheels
from dstack_core._engine.parts import Part
from dstack_core._engine.shelf import KEPT, Shelf


def test_a_part_is_made_once_and_whole_or_not_at_all(tmp_path):
    shelf = Shelf(tmp_path / "wheels")

    def fail(folder):
        (folder / "half-1.0-py3-none-any.whl").touch()
        raise InterruptedError

    with pytest.raises(InterruptedError):
        shelf.make("half", fail)
    assert shelf.find("half") is None
    assert list((tmp_path / "wheels").iterdir()) == []
    made = shelf.make("half", lambda folder: (folder / "half-1.0-py3-none-any.whl").write_text("whole"))
    assert [path.read_text() for path in made] == ["whole"]
    assert shelf.make("half", fail) == made


def test_what_was_not_used_for_long_goes(tmp_path):
    shelf = Shelf(tmp_path / "wheels")
    for name in ("old", "used"):
        (wheel,) = shelf.make(name, lambda folder: (folder / "x.whl").touch())
        os.utime(wheel.parent, (time.time() - KEPT - 1,) * 2)
    shelf.find("used")
    shelf.tidy()
    assert (shelf.find("old"), len(shelf.find("used") or ())) == (None, 1)


def test_an_archive_of_parts_that_are_there_needs_no_pip(tmp_path, monkeypatch):
    parts = [Part("pyyaml"), Part("dstack-provider-bash")]
    first = wheels.archive(parts, tmp_path).read_bytes()
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    monkeypatch.setattr("sys.executable", "/bin/false")
    made = wheels.archive(parts, tmp_path)
    assert made.read_bytes() == first
    assert made.stem.endswith(hashlib.sha256(first).hexdigest())
