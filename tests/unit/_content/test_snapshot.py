"""A snapshot is the working tree as it is, in git and outside, and scanning it runs nothing and changes nothing."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstack_core._content import gitrepo, scanning
from dstack_core._content.gitrepo import parse_remote
from dstack_core._content.snapshot import scan_snapshot, store_snapshot
from dstack_core._content.tree import check_tree, load_tree, restore_tree, save_tree
from dstack_core.errors import InputError, JobError


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", root, "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always",
         "-c", "init.defaultBranch=main", *arguments],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = write(tmp_path / "repo", {"a.py": "a", "sub/b.py": "b", ".gitignore": "*.tmp\nbuild/\n"})
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def paths(root: Path) -> list[str]:
    return [e.path for e in scan_snapshot(root).tree if e.kind != "dir"]


def age(root: Path) -> None:
    newest = max(p.lstat().st_ctime_ns for p in root.rglob("*"))
    while time.time_ns() <= newest + 150_000_000:
        time.sleep(0.01)


def test_the_working_tree_as_it_is(repo, memory_store, tmp_path):
    write(repo, {"a.py": "changed", "new.py": "n", "x.tmp": "ignored", "build/o": "ignored", "staged": "s"})
    (repo / "binary").write_bytes(bytes(range(256)))
    (repo / "link").symlink_to("a.py")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "sub" / "b.py").unlink()
    git(repo, "add", "staged")
    snapshot = scan_snapshot(repo)
    assert paths(repo) == [".gitignore", "a.py", "binary", "link", "new.py", "run.sh", "staged"]
    assert (snapshot.branch, snapshot.commit) == ("main", git(repo, "rev-parse", "HEAD"))
    assert snapshot.summary == "2 changed, 1 deleted, 4 new"
    assert snapshot.changed == ("a.py", "binary", "link", "new.py", "run.sh", "staged", "sub/b.py")
    store_snapshot(memory_store, repo, snapshot)
    assert check_tree(memory_store, snapshot.digest) == []
    restore_tree(memory_store, snapshot.digest, tmp_path / "t")
    assert (tmp_path / "t" / "a.py").read_text() == "changed"
    assert (tmp_path / "t" / "binary").read_bytes() == bytes(range(256))
    assert os.readlink(tmp_path / "t" / "link") == "a.py"
    assert stat.S_IMODE((tmp_path / "t" / "run.sh").stat().st_mode) == 0o755
    memory_store.calls.clear()
    store_snapshot(memory_store, repo, snapshot)
    assert memory_store.writes() == []


def test_scanning_changes_nothing(repo):
    write(repo, {"a.py": "changed", "new.py": "n"})
    before = {p: p.lstat().st_mtime_ns for p in repo.rglob("*")}
    scan_snapshot(repo)
    assert {p: p.lstat().st_mtime_ns for p in repo.rglob("*")} == before


def test_the_configuration_of_a_repository_runs_nothing(repo, tmp_path):
    canary = tmp_path / "canary"
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {canary}\n")
    script.chmod(0o755)
    git(repo, "config", "core.fsmonitor", str(script))
    git(repo, "config", "core.hooksPath", str(tmp_path))
    git(repo, "config", "core.pager", str(script))
    for hook in ("post-index-change", "fsmonitor-watchman"):
        (repo / ".git" / "hooks").mkdir(exist_ok=True)
        (repo / ".git" / "hooks" / hook).write_text(script.read_text())
        (repo / ".git" / "hooks" / hook).chmod(0o755)
    write(repo, {"a.py": "changed"})
    scan_snapshot(repo)
    assert not canary.exists()


def test_the_environment_of_a_hook_does_not_lead_astray(repo, monkeypatch, tmp_path):
    expected = scan_snapshot(repo).digest
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", "nothing")
    write(repo, {"sub/b.py": "b"})
    assert scan_snapshot(repo).digest == expected


def test_a_subfolder_is_a_tree_of_its_own(repo, memory_store):
    write(repo, {"sub/new": "n", "elsewhere": "e", "sub/deep/x": "x"})
    snapshot = scan_snapshot(repo / "sub")
    assert [e.path for e in snapshot.tree] == ["", "b.py", "deep", "deep/x", "new"]
    assert snapshot.summary == "2 new"
    assert snapshot.changed == ("deep/x", "new")
    assert snapshot.repo == scan_snapshot(repo).repo
    store_snapshot(memory_store, repo / "sub", snapshot)
    assert check_tree(memory_store, snapshot.digest) == []


def test_names_are_data(repo, memory_store, tmp_path):
    names = [
        b"\xff\xfe",
        "\u00e9".encode(),
        "e\u0301".encode(),
        b"new\nline",
        b" ",
        b"a b",
        b'q"uote',
        b"-rf",
        b"t\tab",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).write_bytes(name)
    git(repo, "add", "--", "t\tab", 'q"uote')
    snapshot = scan_snapshot(repo)
    store_snapshot(memory_store, repo, snapshot)
    restore_tree(memory_store, snapshot.digest, tmp_path / "t")
    for name in names:
        assert Path(os.fsdecode(os.fsencode(tmp_path / "t") + b"/" + name)).read_bytes() == name


def test_submodules_and_inner_repositories(repo, tmp_path, memory_store):
    other = write(tmp_path / "other", {"lib.py": "l", ".gitignore": "*.o\n"})
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "first")
    git(repo, "submodule", "--quiet", "add", str(other), "vendor/other")
    write(repo, {"vendor/other/new.py": "n", "vendor/other/x.o": "o"})
    inner = write(repo / "inner", {"i.py": "i"})
    git(inner, "init", "-q")
    assert set(paths(repo)) == {
        ".gitignore", ".gitmodules", "a.py", "inner/i.py", "sub/b.py",
        "vendor/other/.gitignore", "vendor/other/lib.py", "vendor/other/new.py",
    }  # fmt: skip
    first = scan_snapshot(repo)
    write(repo, {"vendor/other/lib.py": "L"})
    second = scan_snapshot(repo)
    assert first.digest != second.digest
    store_snapshot(memory_store, repo, second)
    assert check_tree(memory_store, second.digest) == []


def test_a_submodule_that_was_not_fetched_is_an_empty_folder(repo, tmp_path):
    other = write(tmp_path / "other", {"lib.py": "l"})
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-qm", "first")
    git(repo, "submodule", "--quiet", "add", str(other), "vendor")
    git(repo, "submodule", "--quiet", "deinit", "--force", "vendor")
    assert ("vendor", "dir") in [(e.path, e.kind) for e in scan_snapshot(repo).tree]


def test_conflicts_count_once(repo):
    git(repo, "checkout", "-qb", "side")
    write(repo, {"a.py": "side"})
    git(repo, "commit", "-qam", "side")
    git(repo, "checkout", "-q", "main")
    write(repo, {"a.py": "main"})
    git(repo, "commit", "-qam", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, "merge", "-q", "side")
    snapshot = scan_snapshot(repo)
    assert [e.path for e in snapshot.tree if e.path == "a.py"] == ["a.py"]
    assert snapshot.changed == ("a.py",)


def test_before_the_first_commit_and_detached(tmp_path, repo):
    new = write(tmp_path / "new", {"a": "a"})
    git(new, "init", "-q")
    snapshot = scan_snapshot(new)
    assert (snapshot.branch, snapshot.commit, snapshot.summary) == ("main", None, "1 new")
    git(repo, "checkout", "-q", "--detach")
    assert scan_snapshot(repo).branch is None


def test_a_worktree(repo, tmp_path):
    git(repo, "remote", "add", "origin", "git@example.org:me/it.git")
    git(repo, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    write(tmp_path / "tree", {"more": "m"})
    snapshot = scan_snapshot(tmp_path / "tree")
    assert (snapshot.branch, snapshot.repo, snapshot.summary) == ("other", "me/it", "1 new")


# --- ignore files ---


def test_dstackignore_leaves_out_tracked_files_too(repo):
    write(repo, {".dstackignore": "# big\nsub/\n*.bin\n!keep.bin\n", "x.bin": "x", "keep.bin": "k"})
    assert paths(repo) == [".dstackignore", ".gitignore", "a.py", "keep.bin"]
    write(repo, {".dstackignore": "*.bin\n"})
    assert paths(repo) == [".dstackignore", ".gitignore", "a.py", "sub/b.py"]


def test_a_deeper_ignore_file_wins(repo):
    write(repo, {".dstackignore": "*.py\n", "sub/.dstackignore": "!b.py\nc\n", "sub/c": "c", "c": "c"})
    assert paths(repo) == [".dstackignore", ".gitignore", "c", "sub/.dstackignore", "sub/b.py"]


@pytest.mark.parametrize("memory", [False, True])
def test_an_ignore_file_that_git_ignores_counts(repo, memory):
    write(repo, {".gitignore": ".dstackignore\n"})
    if memory:
        age(repo)
        assert "a.py" in paths(repo)
    write(repo, {".dstackignore": "a.py\n"})
    assert paths(repo) == [".gitignore", "sub/b.py"]


def test_outside_git(tmp_path, memory_store):
    root = write(
        tmp_path / "plain",
        {"a": "a", "x.tmp": "x", "d/y.tmp": "y", "d/z": "z", "out/o": "o", "d/out": "f", ".git2": "g",
         ".gitignore": "*.tmp\nout/\n", ".dstackignore": "z\n"},
    )  # fmt: skip
    (root / "empty").mkdir()
    snapshot = scan_snapshot(root)
    assert [e.path for e in snapshot.tree] == [
        "", ".dstackignore", ".git2", ".gitignore", "a", "d", "d/out", "empty",
    ]  # fmt: skip
    assert (snapshot.branch, snapshot.commit, snapshot.summary) == (None, None, "")
    store_snapshot(memory_store, root, snapshot)
    assert check_tree(memory_store, snapshot.digest) == []


def test_without_git_a_repository_is_a_folder(repo, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert paths(repo) == [".gitignore", "a.py", "sub/b.py"]


def test_a_wrong_pattern_names_its_file(repo):
    write(repo, {".dstackignore": "!\n"})
    with pytest.raises(InputError, match="dstackignore"):
        scan_snapshot(repo)


def test_sockets_and_pipes_are_left_out(tmp_path):
    root = write(tmp_path / "plain", {"a": "a"})
    os.mkfifo(root / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket"))
    snapshot = scan_snapshot(root)
    listener.close()
    assert [e.path for e in snapshot.tree] == ["", "a"]
    assert len(snapshot.warnings) == 2


def test_a_broken_repository_is_told(repo):
    (repo / ".git" / "HEAD").write_text("rubbish")
    with pytest.raises(InputError, match="git cannot read"):
        scan_snapshot(repo)


# --- digests ---


def test_who_checked_it_out_makes_no_difference(repo, tmp_path):
    git(tmp_path, "clone", "-q", str(repo), "clone")
    for path in (tmp_path / "clone").rglob("*.py"):
        path.chmod(0o664)
    assert scan_snapshot(tmp_path / "clone").digest == scan_snapshot(repo).digest


def test_what_matters_makes_a_difference(repo):
    seen = {scan_snapshot(repo).digest}
    for change in (
        lambda: (repo / "a.py").write_text("b"),
        lambda: (repo / "a.py").chmod(0o755),
        lambda: (repo / "a.py").chmod(0o600),
        lambda: (repo / "a.py").rename(repo / "c.py"),
        lambda: (repo / "c.py").unlink(),
        lambda: (repo / "c.py").symlink_to("sub/b.py"),
        lambda: write(repo, {"n": ""}),
    ):
        change()
        digest = scan_snapshot(repo).digest
        assert digest not in seen
        seen.add(digest)


edits = st.lists(
    st.tuples(
        st.sampled_from(["write", "delete", "chmod", "link", "rename", "ignore", "commit", "rest", "folder"]),
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None)
@given(edits=edits)
def test_what_is_remembered_never_shows(edits, tmp_path_factory):
    """However often it was scanned before, a scan sees what a first scan sees."""
    root = write(tmp_path_factory.mktemp("edited"), {f"f{i}": str(i) for i in range(5)})
    fresh = tmp_path_factory.mktemp("home")
    git(root, "init", "-q")
    git(root, "add", ".")
    scan_snapshot(root)
    for what, one, other in edits:
        path = root / f"f{one}"
        if what == "rest":
            age(root)
        elif what == "commit":
            git(root, "add", "-A")
            git(root, "commit", "-q", "--allow-empty", "-m", "x")
        elif what == "ignore":
            write(root, {[".gitignore", ".dstackignore"][one % 2]: f"f{other}\n"})
        elif path.is_dir() and not path.is_symlink():
            (path / f"f{other}").write_text(what)
        elif what == "write":
            path.unlink(missing_ok=True)
            path.write_text(str(other))
        elif what == "folder":
            path.unlink(missing_ok=True)
            write(path, {"inside": str(other)})
        elif what == "link":
            path.unlink(missing_ok=True)
            path.symlink_to(f"f{other}")
        elif os.path.lexists(path):
            if what == "delete":
                path.unlink()
            elif what == "rename":
                if not (root / f"f{other}").is_dir():
                    path.rename(root / f"f{other}")
            elif not path.is_symlink():
                path.chmod([0o644, 0o755, 0o600, 0o700, 0o444][other])
        seen = scan_snapshot(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DSTACK_HOME", str(fresh / os.urandom(4).hex()))
            expected = scan_snapshot(root)
        assert seen.digest == expected.digest
        assert seen.tree.entries == expected.tree.entries
        assert seen.tree.digest == type(seen.tree)(seen.tree.entries).digest
        assert (seen.branch, seen.commit, seen.summary, seen.changed) == (
            expected.branch, expected.commit, expected.summary, expected.changed,
        )  # fmt: skip


def test_an_unchanged_tree_is_not_read(repo, monkeypatch):
    age(repo)
    first = scan_snapshot(repo)
    first = scan_snapshot(repo)
    asked: list[tuple[bytes, ...]] = []
    real = gitrepo.Question.__init__

    def ask(self, folder, *arguments):
        asked.append(arguments)
        real(self, folder, *arguments)

    monkeypatch.setattr(gitrepo.Question, "__init__", ask)
    monkeypatch.setattr(scanning, "read_small", None)
    again = scan_snapshot(repo)
    assert [a[0] for a in asked] == [b"ls-files"]
    assert (again.digest, again.tree.entries) == (first.digest, first.tree.entries)


def test_a_file_that_changed_after_the_scan_is_told(repo, memory_store):
    snapshot = scan_snapshot(repo)
    write(repo, {"a.py": "later"})
    with pytest.raises(JobError, match=r"a\.py changed"):
        store_snapshot(memory_store, repo, snapshot)
    assert not any(k.startswith("trees/") for k in memory_store.objects)
    (repo / "a.py").unlink()
    with pytest.raises(JobError, match=r"a\.py changed"):
        store_snapshot(memory_store, repo, snapshot)


def test_a_snapshot_is_a_tree_like_any_other(repo, memory_store, tmp_path):
    snapshot = scan_snapshot(repo)
    store_snapshot(memory_store, repo, snapshot)
    restore_tree(memory_store, snapshot.digest, tmp_path / "t")
    (tmp_path / "t").chmod(0o755)
    assert save_tree(memory_store, tmp_path / "t").digest == snapshot.digest
    assert [e.digest for e in load_tree(memory_store, snapshot.digest)] == [e.digest for e in snapshot.tree]


# --- whose it is ---


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/owner/repo.git", "owner/repo"),
        ("https://user:token@github.com/owner/repo", "owner/repo"),
        ("https://github.com/owner/repo/", "owner/repo"),
        ("ssh://git@github.com:22/owner/repo.git", "owner/repo"),
        ("git@github.com:owner/repo.git", "owner/repo"),
        ("github.com:owner/repo", "owner/repo"),
        ("https://gitlab.com/group/sub/repo.git", "sub/repo"),
        ("file:///srv/git/owner/repo.git", "owner/repo"),
        ("/srv/git/owner/repo.git", "owner/repo"),
        ("../owner/repo", "owner/repo"),
        ("https://example.org/we ird/na;me.git?x=y", "we-ird/na-me"),
        ("https://example.org/", None),
        ("", None),
    ],
)
def test_names_of_remotes(url, name):
    assert parse_remote(url) == name


def test_the_name_of_a_repository(repo, tmp_path):
    name = scan_snapshot(repo).repo
    assert name.startswith("local/repo-")
    assert len(name) == len("local/repo-") + 4
    git(repo, "remote", "add", "upstream", "https://example.org/other/name")
    assert scan_snapshot(repo).repo == name
    git(repo, "remote", "add", "origin", "https://user:secret@example.org/owner/name.git")
    assert scan_snapshot(repo).repo == "owner/name"
    (tmp_path / "more").write_text('[remote "origin"]\n url = https://example.org/owner/included\n')
    git(repo, "config", "include.path", str(tmp_path / "more"))
    git(repo, "config", "--unset", "remote.origin.url")
    assert scan_snapshot(repo).repo == "owner/included"
