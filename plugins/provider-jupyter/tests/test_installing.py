"""Jupyter in the folder that jobs share: made once, whole or not at all, by real pip from an index of our own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import dstack_provider_jupyter
import pytest

PACKAGE = Path(dstack_provider_jupyter.__file__).parent
FIND = "import json, sys; from inside.installing import find; print(json.dumps(find(*sys.argv[1:])))"
CI = "PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"


@pytest.fixture
def wheels(tmp_path) -> Path:
    """Wheels of small things that are called as Jupyter's are."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("4.1.0", "4.2.5"):
        info = f"jupyterlab-{version}.dist-info"
        with zipfile.ZipFile(folder / f"jupyterlab-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("jupyterlab.py", f"version = '{version}'\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: jupyterlab\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def environ(tmp_path, wheels) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in CI}
    return {**kept, "DSTACK_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(PACKAGE), "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}  # fmt: skip


@pytest.fixture
def silent_index() -> Iterator[socket.socket]:
    """A package index that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def start(environ: dict[str, str], version: str = "", **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FIND, "lab", version], env={**environ, **changes}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def found(process: subprocess.Popen[str]) -> tuple[Path | None, str]:
    """The folder that was found, and what was said."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    *said, answer = out.splitlines()
    folder = json.loads(answer)
    return (Path(folder) if folder else None), "".join(said)


def version_in(folder: Path | None) -> str:
    assert folder
    code = "import sys; sys.path.insert(0, sys.argv[1]); import jupyterlab; print(jupyterlab.version)"
    return subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True).stdout[:-1]


def test_once_for_each_version(environ, tmp_path):
    first, said = found(start(environ))
    assert "Installing JupyterLab 4, once for all jobs" in said
    assert version_in(first) == "4.2.5", "the newest, if nobody asks for another"
    assert found(start(environ)) == (first, "")
    for asked, version in (("4.1", "4.1.0"), ("4.2.5", "4.2.5")):
        folder, said = found(start(environ, asked))
        assert said
        assert version_in(folder) == version
    names = {path.name.split("-cpython")[0] for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert names == {"jupyterlab-4", "jupyterlab-4.1", "jupyterlab-4.2.5"}


def test_two_at_once_make_it_once(environ):
    both = [found(process) for process in [start(environ) for _ in range(2)]]
    assert both[0][0] == both[1][0]
    assert sorted(bool(said) for _, said in both) == [False, True], "one installs, the other waits"


def test_killed_in_the_middle(environ, tmp_path, silent_index):
    index = f"http://127.0.0.1:{silent_index.getsockname()[1]}/simple"
    process = start(environ, PIP_NO_INDEX="0", PIP_INDEX_URL=index, PIP_FIND_LINKS="")
    with silent_index.accept()[0]:  # pip asks: it is in the middle
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    cache = tmp_path / "cache"
    (left,) = (path for path in cache.iterdir() if path.is_dir())
    assert left.name.startswith("."), "it has not its name"
    assert version_in(found(start(environ))[0]) == "4.2.5"
    assert not left.exists()


def test_what_cannot_be_installed_is_said_and_leaves_nothing(environ, tmp_path):
    process = start(environ, "4.9")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "No matching distribution found for jupyterlab==4.9.*" in err
    assert "JupyterLab could not be installed" in err
    assert "by `setup:` or `image:`" in err
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_without_pip_it_says_so(environ, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "python", "-c", FIND, "lab", ""],
        env={**environ, "PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "has neither pip nor uv" in done.stderr


def test_the_jobs_own_comes_first(environ, tmp_path, wheels):
    own = tmp_path / "own"
    with zipfile.ZipFile(wheels / "jupyterlab-4.1.0-py3-none-any.whl") as wheel:
        wheel.extractall(own)
    path = {"PYTHONPATH": f"{PACKAGE}:{own}"}
    assert found(start(environ, **path)) == (None, "")
    assert found(start(environ, "4.1", **path)) == (None, "")
    assert version_in(found(start(environ, "4.2", **path))[0]) == "4.2.5", "unless another was asked for"
