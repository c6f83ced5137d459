"""`dstack gc`: shows, asks, frees; and what of the dstack folder it takes."""

from __future__ import annotations

import os
import re
import subprocess
import time

import pytest

from dstack_core._content.tree import check_tree, save_tree
from dstack_core._engine import leftovers as folder
from dstack_core.models import Artifact

OLD = time.time() - 400 * 86400


@pytest.fixture
def run(scene, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "x").write_bytes(os.urandom(50_000))
    saved = save_tree(scene.store, tmp_path / "made")
    scene.finished("x-1")
    scene.job("x-1", "train", "done", artifacts=(Artifact("made", saved.digest, saved.files, saved.size),))
    return saved.digest


def test_nothing_to_free(dstack, run):
    for options in ([], ["-n"], ["-y"]):
        assert dstack("gc", *options).out == "There is nothing to free.\n"
    assert dstack("gc", "--json").json == {"freed": True, "count": 0, "size": 0, "kinds": []}


def test_shows_asks_and_frees(dstack, scene, run):
    dstack("rm", "x-1", "-y")
    shown = dstack("gc", "-n")
    assert re.search(r"Would free 5\d\.\d kB\.\n$", shown.out)
    assert "artifacts and code: contents" in shown.out
    assert dstack("gc").code == 2, "there is no terminal to ask on"
    assert check_tree(scene.store, run) == []
    freed = dstack("gc", "-y", "--json").json
    assert freed["freed"] is True
    assert {kind["kind"] for kind in freed["kinds"]} >= {"trees", "contents", "plans"}
    assert check_tree(scene.store, run) != []
    assert dstack("gc", "-y").out == "There is nothing to free.\n"


def test_dry_run_writes_nothing(dstack, scene, run):
    dstack("rm", "x-1", "-y")
    before = [info.key for info in scene.store.list("")]
    assert dstack("gc", "-n", "--json").json["freed"] is False
    assert [info.key for info in scene.store.list("")] == before


def old(path, data="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is None:
        path.mkdir()
        (path / "big").write_text("x" * 1000)
    else:
        path.write_text(data)
    os.utime(path, (OLD, OLD))
    return path


def test_leftovers_of_the_dead_and_of_old_versions(dstack, run, tmp_path):
    home = tmp_path / "home"
    gone = [
        old(home / "work" / "0-dead", None),
        old(home / "machines" / "0-dead.log"),
        old(home / "cache" / "pip-python3.1-3.1.0", None),
        old(home / "diff-abc", None),
        old(home / "ssh" / "old-run-1", None),
    ]
    kept = [home / "machines" / "0-young.log", home / "cache" / "pip-new", home / "ssh" / "young-run-1"]
    for path in kept:
        path.write_text("x")
    locked = gone[0] / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    locked.chmod(0)
    os.utime(gone[0], (OLD, OLD))
    kinds = {kind["kind"]: kind["count"] for kind in dstack("gc", "-y", "--json").json["kinds"]}
    assert kinds == {"work": 2, "machine logs": 1, "caches": 1, "keys": 1}
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc")
@pytest.mark.parametrize("how", ["environment", "argument"])
def test_what_a_living_process_is_of_stays(dstack, run, tmp_path, how):
    path = old(tmp_path / "home" / "work" / "0-living", None)
    log = old(tmp_path / "home" / "machines" / "0-living.log")
    command = ["sleep", "1000"] if how == "environment" else ["sh", "-c", "sleep 1000; :", "0-living"]
    env = {**os.environ, **({"DSTACK_MACHINE": "0-living"} if how == "environment" else {})}
    process = subprocess.Popen(command, env=env, start_new_session=True)
    try:
        assert [one.path for one in folder.leftovers()] == []
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert {one.path for one in folder.leftovers()} == {path, log}


def test_nothing_is_freed_while_a_record_is_damaged(dstack, scene, run):
    dstack("rm", "x-1", "-y")
    scene.store.write("tags/x/bad.json", b"{")
    done = dstack("gc", "-y")
    assert done.code == 74
    assert "tags/x/bad.json" in done.err
    assert "Freed" not in done.out
