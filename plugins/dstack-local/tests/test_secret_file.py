"""The file of secrets: who may read it, and what is not believed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from dstack_local.secret_file import FileSecretStore

from dstack_core.errors import InputError, StoreError

REPO = "ann/digits"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secrets.json"


@pytest.fixture
def store(path):
    return FileSecretStore({"path": str(path)})


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read_it(store, path, umask):
    before = os.umask(umask)
    try:
        store.put(REPO, "NAME", "1")
        store.put(REPO, "NAME", "2")
    finally:
        os.umask(before)
    assert {p.name: p.stat().st_mode & 0o777 & ~0o100 for p in path.parent.iterdir() if p.name == path.name} == {
        "secrets.json": 0o600
    }
    assert not (path.parent / "secrets.json.new").exists()
    assert store.get(REPO, "NAME") == "2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_read_or_write_is_refused(store, path, mode):
    store.put(REPO, "NAME", "v4lue")
    path.chmod(mode)
    for act in (lambda: store.get(REPO, "NAME"), lambda: store.put(REPO, "N", "x"), lambda: store.list(REPO)):
        with pytest.raises(InputError, match=f"mode {mode:o}") as error:
            act()
        assert "chmod 600" in error.value.hint
        assert "v4lue" not in f"{error.value} {error.value.hint}"


def test_a_link_is_refused(store, path, tmp_path):
    FileSecretStore({"path": str(tmp_path / "other")}).put(REPO, "NAME", "x")
    path.symlink_to(tmp_path / "other")
    for act in (lambda: store.get(REPO, "NAME"), lambda: store.put(REPO, "N", "x")):
        with pytest.raises(InputError, match="is a link"):
            act()


def test_a_pipe_is_refused_and_not_waited_for(store, path):
    os.mkfifo(path, 0o600)
    with pytest.raises(InputError, match="is no file"):
        store.list(REPO)


def test_somebody_elses_is_refused(store, path, monkeypatch):
    store.put(REPO, "NAME", "x")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(InputError, match="belongs to another user"):
        store.get(REPO, "NAME")


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"format": 1, "repos": []}', '{"format": 1, "repos": {"a/b": ["v4lue"]}}', "v4lue"]
)
def test_a_damaged_file_is_told_without_what_is_in_it(store, path, data):
    path.write_text(data)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="damaged") as error:
        store.put(REPO, "NAME", "x")
    assert "v4lue" not in f"{error.value} {error.value.hint} {error.value.__cause__}"
    assert path.read_text() == data


def test_a_newer_file_is_not_touched(store, path):
    path.write_text(json.dumps({"format": 2, "repos": {}}))
    path.chmod(0o600)
    with pytest.raises(StoreError, match="newer"):
        store.put(REPO, "NAME", "x")


def test_in_the_dstack_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("DSTACK_HOME", str(tmp_path / "home"))
    FileSecretStore({}).put(REPO, "NAME", "x")
    assert (tmp_path / "home" / "secrets.json").exists()


def test_killed_at_any_call_it_is_as_before_or_after(store, path):
    """SIGKILL before each call of a change; the next change works and cleans up."""
    store.put(REPO, "NAME", "before")
    code = f"""
import os, signal, sys
from dstack_local.secret_file import FileSecretStore
left = int(sys.argv[1])
def counting(call):
    def counted(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return counted
for name in ("open", "write", "fsync", "rename", "unlink", "close", "fchmod"):
    setattr(os, name, counting(getattr(os, name)))
FileSecretStore({{"path": {str(path)!r}}}).put({REPO!r}, "NAME", "after")
"""
    seen = set()
    for moment in range(1, 50):
        done = subprocess.run([sys.executable, "-c", code, str(moment)], check=False)
        seen.add(store.get(REPO, "NAME"))
        assert seen <= {"before", "after"}
        store.put(REPO, "NAME", "before")
        assert sorted(p.name for p in path.parent.iterdir()) == ["secrets.json", "secrets.json.lock"]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert moment > 5
    assert seen == {"before", "after"}
