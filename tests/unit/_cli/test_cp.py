"""`dstack cp`: what it copies, where to, and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstack_core._content.copying import copy_out
from dstack_core._content.entries import Tree
from dstack_core._content.tree import load_tree, save_tree
from dstack_core._ledger.records import TagRecord
from dstack_core._ledger.tags import write_tag
from dstack_core.errors import ConflictError
from dstack_core.models import Artifact

from .conftest import REPO, planned


@pytest.fixture
def artifact(scene, tmp_path):
    def artifact(path, files, under="made"):
        root = tmp_path / under / path
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        saved = save_tree(scene.store, root)
        return Artifact(path, saved.digest, saved.files, saved.size)

    return artifact


@pytest.fixture
def run(scene, artifact):
    scene.finished("x-1", planned("data"), planned("train", "data"))
    data = artifact("data", {"train/a.csv": "1" * 5000, "train/b.csv": "22", "test/c.csv": "333", "README": "hi"})
    model = artifact("out/model", {"model.bin": b"\0m" * 400_000})
    other = artifact("out/model2", {"model.bin": "other"})
    scene.job("x-1", "data", "done", artifacts=(data,))
    scene.job("x-1", "train", "done", artifacts=(model, other))
    return "x-1"


def files(folder):
    """Path -> content of every file below `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


ALL = {"data/README", "data/test/c.csv", "data/train/a.csv", "data/train/b.csv", "out/model/model.bin"}


@pytest.mark.parametrize("src", [(), (".",), ("./",)])
def test_everything(dstack, run, src):
    done = dstack("cp", run, *src, "here/and/there")
    assert done.code == 0, done.err
    assert set(files("here/and/there")) == {*ALL, "out/model2/model.bin"}
    assert files("here/and/there")["out/model/model.bin"] == b"\0m" * 400_000
    assert done.out == "here/and/there: 6 files (805 kB)\n"


def test_a_folder_becomes_dst_or_goes_into_it(dstack, run, project):
    assert dstack("cp", run, "data/train", "new").code == 0
    assert set(files("new")) == {"a.csv", "b.csv"}
    assert dstack("cp", run, "./data/train/", "new").code == 0
    assert set(files("new")) == {"a.csv", "b.csv", "train/a.csv", "train/b.csv"}
    assert dstack("cp", run, "data/test/.", "new").code == 0
    assert (project / "new" / "c.csv").read_text() == "333"


def test_a_file_becomes_dst_or_goes_into_it(dstack, run, project):
    assert dstack("cp", run, "data/README", "README.txt").code == 0
    (project / "folder").mkdir()
    assert dstack("cp", run, "data/README", "folder").code == 0
    assert dstack("cp", run, "data/README", "other/").code == 0
    assert {p.read_text() for p in map(Path, ("README.txt", "folder/README", "other/README"))} == {"hi"}


def test_a_folder_above_artifacts(dstack, run):
    assert dstack("cp", run, "out", "all").code == 0
    assert set(files("all")) == {"model/model.bin", "model2/model.bin"}


def test_a_name_is_a_path_not_letters(dstack, run):
    assert dstack("cp", run, "out/model", "m").code == 0
    assert set(files("m")) == {"model.bin"}
    missing = dstack("cp", run, "dat", "d")
    assert missing.code == 66
    assert "did you mean data?" in missing.err
    assert not os.path.lexists("d")


def test_of_a_tag(dstack, scene, artifact):
    write_tag(scene.store, TagRecord("best", REPO, "ann", 0.0, (artifact("model", {"x": "1"}),)))
    assert dstack("cp", ":best", "m").code == 0
    assert files("m") == {"model/x": b"1"}


def test_the_last_job_counts_or_the_one_that_is_asked_for(dstack, scene, artifact):
    scene.finished("x-2", planned("a"), planned("b", "a"))
    scene.job("x-2", "a", "done", artifacts=(artifact("out", {"x": "1", "only-a": "1"}, "first"),))
    scene.job("x-2", "b", "done", artifacts=(artifact("out", {"x": "2"}, "second"),))
    assert dstack("cp", "x-2", "out", "both").code == 0
    assert files("both") == {"x": b"2", "only-a": b"1"}
    assert dstack("cp", "x-2", "-j", "a", "out", "one").code == 0
    assert files("one") == {"x": b"1", "only-a": b"1"}
    assert dstack("cp", "x-2", "-j", "none", "out", "two").code == 66


def test_what_differs_is_kept_unless_forced(dstack, run, project):
    dstack("cp", run, "data", "d")
    kept = (project / "d" / "README").stat()
    (project / "d" / "train" / "b.csv").write_text("mine")
    (project / "d" / "train" / "a.csv").unlink()
    refused = dstack("cp", run, "data/.", "d")
    assert refused.code == 73
    assert "d/train/b.csv is there and differs; nothing was copied" in refused.err
    assert not (project / "d" / "train" / "a.csv").exists()
    assert (project / "d" / "train" / "b.csv").read_text() == "mine"
    forced = dstack("cp", run, "data/.", "d", "--force", "--json").json
    assert (forced["files"], forced["unchanged"], forced["overwritten"]) == (4, 2, 1)
    assert (project / "d" / "train" / "b.csv").read_text() == "22"
    now = (project / "d" / "README").stat()
    assert (now.st_ino, now.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns), "what was there already is left alone"


def test_again_copies_nothing(dstack, run):
    dstack("cp", run, "here")
    assert dstack("cp", run, "here").out == "here: 6 files (805 kB), 6 of them there already\n"


def test_a_folder_of_the_users_keeps_its_mode(dstack, run, project):
    (project / "d" / "train").mkdir(parents=True)
    (project / "d" / "train").chmod(0o700)
    (project / "d").chmod(0o750)
    assert dstack("cp", run, "data/.", "d").code == 0
    assert [p.stat().st_mode & 0o777 for p in (project / "d", project / "d" / "train")] == [0o750, 0o700]


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_link_does_not_lead_out_of_dst(dstack, run, project, tmp_path, force):
    (tmp_path / "outside").mkdir()
    (project / "d").mkdir()
    (project / "d" / "train").symlink_to(tmp_path / "outside")
    refused = dstack("cp", run, "data/.", "d", *force)
    assert refused.code == 73
    assert "d/train (no folder)" in refused.err
    (project / "d" / "train").unlink()
    (project / "d" / "data").symlink_to(tmp_path / "outside")
    assert dstack("cp", run, "data", "d", *force).code == 73
    assert files(tmp_path / "outside") == {}


def test_a_link_for_a_file_is_replaced_not_followed(dstack, run, project, tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (project / "README").symlink_to(tmp_path / "theirs")
    assert dstack("cp", run, "data/README", "README").code == 73
    assert dstack("cp", run, "data/README", "README", "-f").code == 0
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert (project / "README").read_text() == "hi"


def test_a_folder_and_a_file_do_not_replace_each_other(dstack, run, project):
    (project / "f").write_text("x")
    assert dstack("cp", run, "data", "f", "-f").code == 73
    (project / "d" / "README").mkdir(parents=True)
    assert dstack("cp", run, "data/README", "d", "-f").code == 73
    assert (project / "f").read_text() == "x"


def test_damaged_bytes_are_named_and_not_copied(dstack, scene, run):
    (entry,) = (e for e in load_tree(scene.store, scene_tree(dstack, run, "out/model")) if e.kind == "file")
    key = f"blobs/{entry.extents[0].object[:2]}/{entry.extents[0].object}"
    scene.store.write(key, b"\0" * entry.size)
    done = dstack("cp", run, "here")
    assert done.code == 74
    assert "model.bin" in done.err
    assert set(files("here")) == {*ALL, "out/model2/model.bin"} - {"out/model/model.bin"}


def scene_tree(dstack, run, path):
    return next(row["tree"] for row in dstack("ls", run, "--json").json if row["path"] == path)


def test_odd_names_as_they_are_and_as_ls_shows_them(dstack, scene, tmp_path):
    root = tmp_path / "odd"
    root.mkdir()
    for name in (b"a\nb", b"\xff\xfe", b"back\\slash"):
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(name)
    saved = save_tree(scene.store, root)
    scene.finished("x-1")
    scene.job("x-1", "train", "done", artifacts=(Artifact("odd", saved.digest, saved.files, saved.size),))
    for n, name in enumerate(("odd/a\\nb", "odd/a\nb", "odd/\\xff\\xfe", "odd/\udcff\udcfe", "odd/back\\slash")):
        done = dstack("cp", "x-1", name, f"f{n}")
        assert done.code == 0, done.err
        assert Path(f"f{n}").read_bytes() in os.listdir(os.fsencode(root))


def test_usage(dstack, run):
    assert dstack("cp", run).code == 2
    assert dstack("cp", run, "a", "b", "c").code == 2
    assert dstack("cp", "x-2", "d").code == 66


def test_a_run_without_artifacts(dstack, scene):
    scene.finished("x-9")
    assert "x-9 has no artifacts" in dstack("cp", "x-9", "d").err


NAME = st.text("ab.-é\n\\", min_size=1, max_size=3).filter(lambda n: n not in (".", ".."))
FILES = st.dictionaries(st.tuples(NAME, NAME), st.binary(max_size=6), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(ours=FILES, theirs=FILES, force=st.booleans())
def test_afterwards_it_is_as_copied_or_as_before(scene, tmp_path_factory, ours, theirs, force):
    folder = tmp_path_factory.mktemp("copies")
    for top, content in (("made", ours), ("there", theirs)):
        (folder / top).mkdir()
        for (above, name), data in content.items():
            (folder / top / above).mkdir(exist_ok=True)
            (folder / top / above / name).write_bytes(data)
    tree = load_tree(scene.store, save_tree(scene.store, folder / "made").digest)
    before, wanted = files(folder / "there"), files(folder / "made")
    try:
        copy_out(scene.store, tree, folder / "there", force=force)
    except ConflictError:
        assert not force
        assert files(folder / "there") == before
        assert any(before.get(path, data) != data for path, data in wanted.items())
    else:
        assert files(folder / "there") == {**before, **wanted}


def test_killed_at_any_moment_every_file_is_whole(scene, tmp_path):
    """SIGKILL at each call that gives a file its name, and before its bytes are written."""
    root = tmp_path / "made"
    root.mkdir()
    for n in range(4):
        (root / f"small{n}").write_bytes(b"%d" % n * 70_000)
        (root / f"large{n}").write_bytes(b"%d" % n * 400_000)
    digest = save_tree(scene.store, root).digest
    code = f"""
import os, signal, sys
from pathlib import Path
from dstack_local.store import FolderStore
from dstack_core._content.copying import copy_out
from dstack_core._content.tree import load_tree
left = int(sys.argv[1])
def counting(call):
    def counted(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return counted
for name in ("open", "write", "pwrite", "rename", "fchmod"):
    setattr(os, name, counting(getattr(os, name)))
store = FolderStore({{"path": {scene.store.location!r}}})
copy_out(store, load_tree(store, {digest!r}), Path(sys.argv[2]))
"""
    killed = 0
    for moment in range(4, 400, 7):
        target = tmp_path / f"copy{moment}"
        done = subprocess.run([sys.executable, "-c", code, str(moment), str(target)], check=False)
        for name, data in files(target).items() if target.exists() else ():
            assert name.startswith(".dstack-") or data == (root / name).read_bytes()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
    assert killed > 3


def test_an_empty_tree_root_is_made(scene, tmp_path):
    (tmp_path / "empty").mkdir()
    tree = load_tree(scene.store, save_tree(scene.store, tmp_path / "empty").digest)
    copy_out(scene.store, Tree(tree.entries), tmp_path / "copy")
    assert (tmp_path / "copy").is_dir()
