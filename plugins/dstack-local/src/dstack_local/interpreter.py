"""Finding the Python that a job asks for with `python: 3.10`."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from dstack_core.errors import JobError

_PROBE = """import os, sys
t = "t" if "t" in getattr(sys, "abiflags", "") else ""
name = "python%d.%d%s" % (sys.version_info[0], sys.version_info[1], t)
base = os.path.join(sys.base_exec_prefix, "bin", name)
print(base if os.path.exists(base) else os.path.realpath(sys.executable))
print("%d.%d.%d" % sys.version_info[:3])
print(name)
"""


class Interpreter(NamedTuple):
    """A Python of this machine. `name` is `python3.11`, as its folder in `lib` is called."""

    executable: str
    version: str
    name: str


def running() -> Interpreter:
    """The Python that runs dstack, outside of the virtual environment that dstack may be installed in."""
    free_threaded = "t" if "t" in getattr(sys, "abiflags", "") else ""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}{free_threaded}"
    base = os.path.join(sys.base_exec_prefix, "bin", name)
    executable = base if os.path.exists(base) else os.path.realpath(sys.executable)
    return Interpreter(executable, ".".join(map(str, sys.version_info[:3])), name)


def find(wanted: str | None) -> Interpreter:
    """The newest Python that `wanted` (`3`, `3.10` or `3.10.4`) describes; None: the one that runs dstack.

    Raises:
        JobError: there is none on this machine, or `wanted` is no version.
    """
    here = running()
    if wanted is None or _matches(here.version, wanted):
        return here
    if not re.fullmatch(r"\d+(\.\d+){0,2}", wanted):
        raise JobError(f"python: {wanted!r} is not a version", hint="write it like `python: 3.10`")
    found = {here.version}
    for path in _candidates(wanted):
        interpreter = probe(path)
        if interpreter and _matches(interpreter.version, wanted):
            return interpreter
    found.update(i.version for p in _candidates("3") if (i := probe(p)))
    versions = ", ".join(sorted(found, key=_numbers))
    raise JobError(
        f"Python {wanted} is not on this machine (found: {versions})",
        hint=f"install it, e.g. `uv python install {wanted}`, `pyenv install {wanted}` or your system's "
        f"python{wanted} package; or change `python:` in the workflow",
    )


def probe(path: str) -> Interpreter | None:
    """Ask the Python at `path` what it is; None if it does not answer."""
    try:
        answer = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            cwd="/",
        )
        return Interpreter(*answer.stdout.split("\n")[:3])
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return None


def _matches(version: str, wanted: str) -> bool:
    return f"{version}.".startswith(f"{wanted}.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version))


def _candidates(wanted: str) -> Iterator[str]:
    """Executables that may be the wanted Python, each once."""
    short = ".".join(wanted.split(".")[:2])
    seen = set()
    for pattern in _patterns(short):
        for path in sorted(glob.glob(pattern), key=_numbers, reverse=True):
            real = os.path.realpath(path)
            if real not in seen and os.access(path, os.X_OK):
                seen.add(real)
                yield path


def _patterns(short: str) -> Iterator[str]:
    home = os.path.expanduser("~")
    data = os.environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    pyenv = os.environ.get("PYENV_ROOT") or f"{home}/.pyenv"
    names = (f"python{short}",) if "." in short else (f"python{short}.[0-9]*[0-9]", f"python{short}")
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), f"{home}/.local/bin"]
    folders += ["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/opt/local/bin"]
    for folder in folders:
        # A shim of pyenv or asdf chooses a version by rules of its own; what it stands for is looked at below.
        if folder and os.path.basename(folder) != "shims":
            for name in names:
                yield f"{glob.escape(folder)}/{name}"
    yield f"{glob.escape(pyenv)}/versions/{short}.*/bin/python"
    yield f"{glob.escape(home)}/.asdf/installs/python/{short}.*/bin/python"
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or f"{data}/uv/python"
    yield f"{glob.escape(uv)}/cpython-{short}.*/bin/python{short if '.' in short else '3'}"
    yield f"/Library/Frameworks/Python.framework/Versions/{short}*/bin/python{short if '.' in short else '3'}"
    for conda in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba"):
        for place in (f"{glob.escape(home)}/{conda}", f"/opt/{conda}"):
            yield f"{place}/bin/{names[0]}"
            yield f"{place}/envs/*/bin/{names[0]}"
    yield f"/opt/conda/bin/{names[0]}"
    yield f"/opt/conda/envs/*/bin/{names[0]}"
