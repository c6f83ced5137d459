"""What of a folder was used, and whether its file system tells."""

import os
import subprocess

import pytest

from dstack_core._runner import access
from dstack_core._runner.access import hindrance, try_out
from dstack_core._runner.reading import Reading

FILES = {"a": "1", "b": "2", "sub/c": "3", "sub/deep/d": "4", "other/e": "5"}
PATHS = ["", *FILES, "sub", "sub/deep", "other", "l", "not there", "not/there"]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "checkout"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "l").symlink_to("other")
    return root


@pytest.fixture
def used_after(root):
    def used_after(command):
        reading = Reading(root, PATHS)
        reading.mark()
        subprocess.run(["bash", "-c", command], cwd=root, check=True, stdout=subprocess.DEVNULL)
        return set(reading.used())

    return used_after


USED = {
    "true": "",
    "[ -f a ] && stat a && cd sub/deep": "",
    "cat a": "a",
    "ls sub": "sub",
    "cat sub/c*": "sub sub/c",
    "ls l/": "l other",
    "readlink l": "l",
    "cp a new": "a .",
    "echo x >> b": "b",
    "ln a sub/a": "a sub",
    "mv a b": "a b .",
    "rm -r sub": "sub sub/c sub/deep sub/deep/d .",
    "mv sub moved": "sub sub/c sub/deep sub/deep/d .",
    "chmod 600 a": "a",
    "touch sub/new": "sub",
    "touch -a -d @0 a; touch -a -d @315532800 a": "a",
}


@pytest.mark.parametrize("command", USED)
def test_what_was_used(used_after, command):
    assert {path or "." for path in used_after(command)} == set(USED[command].split())


def test_a_file_that_takes_the_place_of_another_is_noticed_whatever_it_is_made_to_look_like(used_after):
    assert "a" in used_after("cp -p a x; mv x a; touch -a -d @315532800 a")


def test_modification_times_of_files_are_left_alone(root):
    os.utime(root / "a", ns=(5, 7_000_000_001))
    Reading(root, PATHS).mark()
    assert (root / "a").stat().st_mtime_ns == 7_000_000_001


def test_names_that_are_no_text(root):
    name = os.fsdecode(b"\xff\n")
    (root / name).write_text("x")
    reading = Reading(root, [name])
    reading.mark()
    assert reading.used() == []
    (root / name).read_text()
    assert reading.used() == [name]


def test_this_file_system_tells(tmp_path):
    assert try_out(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_one_that_keeps_no_access_times_does_not(tmp_path, without_access_times):
    without_access_times(tmp_path / "folder")
    assert "keeps no access time when a file is read" in try_out(tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("silent", ["read", "listed", "mapped into memory", "executed", "copied", "cloned"])
def test_each_way_to_use_a_file_is_tried(tmp_path, monkeypatch, silent):
    """As on a file system where just that leaves no trace: XFS, for cloned files."""
    real = access._uses

    def uses(place):
        for name, path, act in real(place):
            yield name, path, (lambda: None) if name == silent else act
        if silent == "cloned":
            yield "cloned", "file", lambda: None

    monkeypatch.setattr(access, "_uses", uses)
    assert f"when a file is {silent}" in try_out(tmp_path)


def test_a_file_system_is_tried_once(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "_known", {})
    tried = []
    monkeypatch.setattr(access, "try_out", lambda folder: tried.append(folder) or "")
    hindrance(tmp_path)
    hindrance(tmp_path)
    assert tried == [tmp_path]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    place = tmp_path / f"access-{os.getpid()}"
    place.write_text("in the way")
    assert "cannot be tried out" in try_out(tmp_path)
