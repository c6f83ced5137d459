"""Which folder is the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from dstack_core._workflow.project import find_project


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DSTACK_HOME", raising=False)


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_the_nearest_folder_with_dot_dstack(tmp_path):
    folder(tmp_path / "a/.dstack")
    folder(tmp_path / "a/b/.dstack")
    folder(tmp_path / "a/b/.git")
    deep = folder(tmp_path / "a/b/c/d")
    assert find_project(deep) == tmp_path / "a/b"
    assert find_project(tmp_path / "a") == tmp_path / "a"


def test_dot_dstack_wins_over_a_nearer_git(tmp_path):
    folder(tmp_path / "a/.dstack")
    folder(tmp_path / "a/sub/.git")
    assert find_project(tmp_path / "a/sub") == tmp_path / "a"


def test_else_the_git_working_tree_else_the_folder_itself(tmp_path):
    folder(tmp_path / "r/x/y")
    assert find_project(tmp_path / "r/x/y") == tmp_path / "r/x/y"
    (tmp_path / "r/.git").write_text("gitdir: elsewhere")  # a worktree or submodule
    assert find_project(tmp_path / "r/x/y") == tmp_path / "r"


def test_the_users_own_data_makes_no_project(tmp_path, monkeypatch):
    data = folder(tmp_path / "home/.dstack")
    work = folder(tmp_path / "home/work")
    assert find_project(work) == work
    (data / "workflows.yaml").write_text("")
    assert find_project(work) == tmp_path / "home"
    monkeypatch.setenv("DSTACK_HOME", str(folder(tmp_path / "elsewhere/.dstack")))
    sub = folder(tmp_path / "elsewhere/sub")
    assert find_project(sub) == sub


def test_a_file_named_dot_dstack_is_no_project(tmp_path):
    (tmp_path / ".dstack").write_text("")
    assert find_project(tmp_path) == tmp_path
    assert find_project(folder(tmp_path / "sub")) == tmp_path / "sub"
