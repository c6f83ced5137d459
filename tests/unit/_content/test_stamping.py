"""The stamps of many files as one digest."""

import os
import threading

import pytest

from dstack_core._content import stamping
from dstack_core._content.stamping import digest_of_stamps, stamps_digest
from dstack_core._content.statcache import stamp_of


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [b"%02d" % n for n in range(31)]
    for path in found:
        with open(path, "wb") as file:
            file.write(path)
    return found


@pytest.fixture(params=["alone", "helped"])
def forks(request, monkeypatch):
    """Processes that were forked: none for few files."""
    forked: list[int] = []
    fork = os.fork

    def noted():
        if child := fork():
            forked.append(child)
        return child

    if request.param == "helped":
        monkeypatch.setattr(stamping, "_MANY", 1)
    monkeypatch.setattr(os, "fork", noted)
    yield forked
    assert bool(forked) == (request.param == "helped")
    for child in forked:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_it_is_the_digest_of_all_stamps_in_order(paths, forks):
    stamps = [stamp_of(os.lstat(path)) for path in paths]
    assert stamps_digest(b".", paths) == digest_of_stamps(stamps)
    assert stamps_digest(b".", paths[::-1]) != digest_of_stamps(stamps)


@pytest.mark.parametrize("place", [0, -1])
def test_it_changes_with_any_file(paths, forks, place):
    before = stamps_digest(b".", paths)
    with open(paths[place], "ab") as file:
        file.write(b"more")
    assert stamps_digest(b".", paths) != before


@pytest.mark.parametrize("place", [0, -1])
def test_a_file_that_is_gone_is_an_error(paths, forks, place):
    os.unlink(paths[place])
    with pytest.raises(FileNotFoundError):
        stamps_digest(b".", paths)


def test_a_process_with_threads_is_not_forked(paths, monkeypatch):
    monkeypatch.setattr(stamping, "_MANY", 1)
    monkeypatch.setattr(os, "fork", None)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert stamps_digest(b".", paths) == digest_of_stamps([stamp_of(os.lstat(path)) for path in paths])
    finally:
        over.set()
        thread.join()


def test_no_files_are_no_error(tmp_path):
    (tmp_path / "file").touch()
    assert stamps_digest(os.fsencode(tmp_path / "file"), []) == digest_of_stamps([])
