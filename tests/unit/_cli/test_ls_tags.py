"""`dstack ls` and `dstack tags`: what is in artifacts, and names for them."""

from __future__ import annotations

import os
import threading

import pytest

from dstack_core._content.tree import load_tree, save_tree
from dstack_core._engine.tagging import check_tag, tag_run
from dstack_core._engine.view import RunView
from dstack_core._ledger.records import TagRecord
from dstack_core._ledger.tags import read_tag, tag_key, write_tag
from dstack_core.errors import ConflictError, InputError
from dstack_core.models import Artifact

from .conftest import REPO, planned


@pytest.fixture
def artifact(scene, tmp_path):
    def artifact(path, files):
        root = tmp_path / "made" / path
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        saved = save_tree(scene.store, root)
        return Artifact(path, saved.digest, saved.files, saved.size)

    return artifact


@pytest.fixture
def run(scene, artifact):
    scene.finished("x-1", planned("data"), planned("train", "data"))
    data = artifact("data", {"train/a.csv": "1" * 1000, "train/b.csv": "22", "test/c.csv": "333", "README": "hi"})
    model = artifact("out/model", {"model.bin": "m" * 50})
    scene.job("x-1", "data", "done", artifacts=(data,))
    scene.job("x-1", "train", "done", artifacts=(model,))
    return "x-1"


def listed(result):
    return [(row["path"], row["size"], row["files"]) for row in result.json]


def test_artifacts_with_their_workflows(dstack, run):
    result = dstack("ls", run)
    assert [line.split() for line in result.out.splitlines()] == [
        ["WORKFLOW", "PATH", "SIZE", "FILES"],
        ["data", "data", "1.0", "kB", "4"],
        ["train", "out/model", "50", "B", "1"],
    ]


def test_one_level_below_a_prefix(dstack, run):
    assert listed(dstack("ls", run, "data", "--json")) == [
        ("data/README", 2, 1),
        ("data/test", 3, 1),
        ("data/train", 1002, 2),
    ]
    assert listed(dstack("ls", run, "./data/train/", "--json")) == [
        ("data/train/a.csv", 1000, 1),
        ("data/train/b.csv", 2, 1),
    ]
    assert listed(dstack("ls", run, "out", "--json")) == [("out/model", 50, 1)]
    assert listed(dstack("ls", run, "data/README", "--json")) == [("data/README", 2, 1)]
    assert "data/train/" in dstack("ls", run, "data").out.split()


def test_recursive(dstack, run):
    assert [path for path, _, _ in listed(dstack("ls", run, "-r", "--json"))] == [
        "data/README",
        "data/test/c.csv",
        "data/train/a.csv",
        "data/train/b.csv",
        "out/model/model.bin",
    ]
    assert [path for path, _, _ in listed(dstack("ls", run, "data/test", "-r", "--json"))] == ["data/test/c.csv"]


def test_total(dstack, run):
    assert dstack("ls", run, "-t").out.splitlines()[-1].split() == ["total", "1.1", "kB", "5"]


def test_a_prefix_is_a_path_not_letters(dstack, run):
    result = dstack("ls", run, "dat")
    assert result.code == 66
    assert "did you mean data?" in result.err


def test_names_of_files_are_data(dstack, scene, tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    for name in (b"a\nb", b"\x1b[31mred", b"\xff\xfe", b"two  spaces", b"back\\slash"):
        with open(os.path.join(os.fsencode(root), name), "w"):
            pass
    saved = save_tree(scene.store, root)
    scene.finished("x-1")
    scene.job("x-1", "train", "done", artifacts=(Artifact("odd", saved.digest, saved.files, saved.size),))
    shown = dstack("ls", "x-1", "odd").out
    assert [line.rsplit("  ", 2)[0].rstrip() for line in shown.splitlines()[1:]]
    for name in ("odd/a\\nb", "odd/\\x1b[31mred", "odd/\\xff\\xfe", "odd/two  spaces", "odd/back\\\\slash"):
        assert name in shown
    assert "\x1b" not in shown
    names = {os.fsencode(row["path"]) for row in dstack("ls", "x-1", "odd", "--json").json}
    assert b"odd/\xff\xfe" in names
    assert b"odd/a\nb" in names


def test_empty_folders_and_links_are_listed(dstack, scene, tmp_path):
    root = tmp_path / "odd"
    (root / "empty").mkdir(parents=True)
    (root / "link").symlink_to("empty")
    saved = save_tree(scene.store, root)
    scene.finished("x-1")
    scene.job("x-1", "train", "done", artifacts=(Artifact("odd", saved.digest, saved.files, saved.size),))
    assert [(r["path"], r["kind"]) for r in dstack("ls", "x-1", "-r", "--json").json] == [
        ("odd/empty", "dir"),
        ("odd/link", "link"),
    ]


def test_a_run_without_artifacts(dstack, scene):
    scene.finished("x-1")
    assert dstack("ls", "x-1").out == "x-1 has no artifacts.\n"
    assert dstack("ls", "x-1", "--json").json == []


def test_tag_a_run(dstack, scene, run):
    assert dstack("tags").out == "No tags yet. Add one with: dstack tags add TAG RUN\n"
    assert dstack("tags", "add", "best", run).code == 0
    (row,) = dstack("tags", "--json").json
    assert (row["tag"], row["run"], row["workflow"], [a["path"] for a in row["artifacts"]]) == (
        "best",
        "x-1",
        "train",
        ["out/model"],
    )
    assert dstack("tags", "list", "--json").json == [row]
    assert listed(dstack("ls", ":best", "--json")) == [("out/model", 50, 1)]
    assert "best" in dstack("tags").out


def test_a_tag_moves_only_when_told(dstack, scene, run, project):
    dstack("tags", "add", "best", run)
    (project / "w").mkdir()
    result = dstack("tags", "add", "best", "-a", "w")
    assert result.code == 73
    assert "--move" in result.err
    assert dstack("tags", "add", "best", "-a", "w", "--move").code == 0
    assert read_tag(scene.store, REPO, "best").run is None


def test_delete(dstack, run):
    dstack("tags", "add", "best", run)
    assert dstack("tags", "delete", "best").code == 2
    assert dstack("tags", "delete", ":best", "-y").out == "best: deleted\n"
    result = dstack("tags", "delete", "best", "-y")
    assert result.code == 66


def test_unknown_tags_get_close_matches(dstack, run):
    dstack("tags", "add", "production", run)
    for arguments in (["ls", ":prodction"], ["tags", "delete", "prodction", "-y"]):
        result = dstack(*arguments)
        assert result.code == 66
        assert "did you mean production?" in result.err


def test_upload(dstack, scene, project, tmp_path):
    (project / "data" / "raw").mkdir(parents=True)
    (project / "data" / "raw" / "a.txt").write_text("hello")
    (tmp_path / "elsewhere.bin").write_bytes(b"xyz")
    assert dstack("tags", "add", "v1", "-a", "data/raw", "-a", str(tmp_path / "elsewhere.bin")).code == 0
    tag = read_tag(scene.store, REPO, "v1")
    assert [(a.path, a.files, a.size) for a in tag.artifacts] == [("data/raw", 1, 5), ("elsewhere.bin", 1, 3)]
    assert [e.path for e in load_tree(scene.store, tag.artifacts[0].tree)] == ["", "a.txt"]
    assert listed(dstack("ls", ":v1", "-r", "--json")) == [("data/raw/a.txt", 5, 1), ("elsewhere.bin", 3, 1)]


def test_what_cannot_be_uploaded(dstack, project):
    assert dstack("tags", "add", "v1", "-a", ".").code == 65
    assert dstack("tags", "add", "v1", "-a", "missing").code == 2
    assert dstack("tags", "add", "v1").code == 2
    (project / "a").mkdir()
    assert dstack("tags", "add", "v1", "-a", "a", "-a", "./a").code == 65


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "-a", "..", "a\nb", "x" * 101])
def test_bad_tags(name):
    with pytest.raises(InputError, match="cannot be a tag"):
        check_tag(name)


def test_only_a_run_that_is_done_can_be_tagged(dstack, scene):
    scene.finished("x-1", status="failed")
    scene.job("x-1", "train", "failed")
    result = dstack("tags", "add", "best", "x-1")
    assert result.code == 65
    assert "train is failed" in result.err
    scene.run("x-2")
    assert "cannot be tagged yet: it is submitted" in dstack("tags", "add", "best", "x-2").err
    scene.finished("x-3")
    scene.job("x-3", "train", "done")
    assert "has no artifacts" in dstack("tags", "add", "best", "x-3").err


def test_a_damaged_tag_is_a_warning_and_can_be_deleted(dstack, scene, run):
    dstack("tags", "add", "good", run)
    scene.store.write(tag_key(REPO, "bad"), b"garbage")
    result = dstack("tags", "--json")
    assert (result.code, [row["tag"] for row in result.json]) == (0, ["good"])
    assert tag_key(REPO, "bad") in result.err
    assert dstack("ls", ":bad").code == 74
    assert dstack("tags", "delete", "bad", "-y").code == 0
    assert dstack("tags").err == ""


def test_tagging_at_the_end_of_a_run_moves_the_tag_and_repeats_without_a_write(scene, run):
    write_tag(scene.store, TagRecord("best", REPO, "bob", 0.0, (), "old-1"))
    view = RunView(scene.store, run)
    assert tag_run(scene.store, view, "best", "ann") is None
    tag = read_tag(scene.store, REPO, "best")
    assert (tag.run, tag.user) == ("x-1", "ann")
    version = scene.store.read(tag_key(REPO, "best")).version
    assert tag_run(scene.store, view, "best", "ann") is None
    assert scene.store.read(tag_key(REPO, "best")).version == version


def test_tagging_at_the_end_of_a_run_never_raises(scene):
    scene.finished("x-1", status="failed")
    scene.job("x-1", "train", "failed")
    view = RunView(scene.store, "x-1")
    assert "train is failed" in tag_run(scene.store, view, "best", "ann")
    assert "cannot be a tag" in tag_run(scene.store, view, "a b", "ann")


def test_one_of_many_who_add_a_tag_wins(scene):
    won = []
    start = threading.Barrier(16)

    def add(n):
        start.wait()
        try:
            write_tag(scene.store, TagRecord("best", REPO, f"user-{n}", 0.0, ()))
            won.append(f"user-{n}")
        except ConflictError:
            pass

    threads = [threading.Thread(target=add, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [read_tag(scene.store, REPO, "best").user]
