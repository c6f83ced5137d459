"""An environment is used again only when no job can tell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dstack_local import interpreter, python_env
from dstack_local.spare import SpareEnvironments

PYTHON = interpreter.find(None)


def listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, b"" if path.is_dir() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


def prefix(folder: Path) -> str:
    return subprocess.check_output([folder / "bin/python", "-c", "import sys; print(sys.prefix)"], text=True).strip()


def packages(folder: Path) -> Path:
    return next(folder.glob("lib/*/site-packages"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a package is installed": lambda env: (packages(env) / "new.py").write_text(""),
    "a program is installed": lambda env: (env / "bin/tool").write_text(""),
    "a file is added beside": lambda env: (env / "notes").write_text(""),
    "a folder is added": lambda env: (env / "lib/share").mkdir(),
    "something is removed": lambda env: (env / "bin/pip3").unlink(),
    "a link leads elsewhere": lambda env: ((env / "bin/python").unlink(), (env / "bin/python").symlink_to("/bin/sh")),
    "the configuration is edited": lambda env: (env / "pyvenv.cfg").write_text("home = /usr/bin\n"),
    "a program is edited in place": lambda env: os.truncate(env / "bin/pip", 3),
    "a mode is changed": lambda env: (env / "bin").chmod(0o500),
    "pip's own folder is hidden": lambda env: next(packages(env).glob("*.pth")).write_text(""),
}


@pytest.fixture
def taken(tmp_path: Path) -> tuple[SpareEnvironments, Path]:
    spare = SpareEnvironments()
    spare.take(str(tmp_path / "first"), PYTHON)
    return spare, tmp_path / "first"


def test_one_that_was_only_used_is_used_again(taken: tuple[SpareEnvironments, Path], tmp_path: Path) -> None:
    spare, first = taken
    made, number = listing(first), first.lstat().st_ino
    assert prefix(first) == str(first)
    spare.give_back(str(first), PYTHON, tmp_path / "spare")
    assert not first.exists()
    spare.take(str(tmp_path / "second"), PYTHON)
    assert (tmp_path / "second").lstat().st_ino == number
    assert listing(tmp_path / "second") == made
    assert prefix(tmp_path / "second") == str(tmp_path / "second")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """A runner's own keeps all that it makes private."""
    before = os.umask(umask)
    try:
        python_env.make(str(tmp_path / "env"), PYTHON)
    finally:
        os.umask(before)
    assert python_env.is_as_made(str(tmp_path / "env"), PYTHON)


@pytest.mark.parametrize("change", CHANGES)
def test_one_that_was_changed_is_not(taken: tuple[SpareEnvironments, Path], tmp_path: Path, change: str) -> None:
    spare, first = taken
    assert python_env.is_as_made(str(first), PYTHON)
    CHANGES[change](first)
    spare.give_back(str(first), PYTHON, tmp_path / "spare")
    assert first.exists(), "it goes with its attempt"
    spare.take(str(tmp_path / "second"), PYTHON)
    assert (tmp_path / "second").lstat().st_ino != first.lstat().st_ino
    assert python_env.is_as_made(str(tmp_path / "second"), PYTHON)


def test_what_is_gone_is_made_anew(taken: tuple[SpareEnvironments, Path], tmp_path: Path) -> None:
    spare, first = taken
    spare.give_back(str(first), PYTHON, tmp_path / "spare")
    for kept in (tmp_path / "spare").iterdir():
        kept.rename(tmp_path / "elsewhere")
    spare.take(str(tmp_path / "second"), PYTHON)
    assert python_env.is_as_made(str(tmp_path / "second"), PYTHON)
