"""A Python environment for one attempt, made by hand in less than a millisecond.

It is an ordinary virtual environment (PEP 405), but pip is not copied into it: one unpacked pip per interpreter, kept
under `$DSTACK_HOME/cache`, is the last entry of its `sys.path`. pip installs into the environment, an upgrade of pip
included, and refuses to touch what lies outside.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import threading
from contextlib import suppress

from dstack_core.home import dstack_home
from dstack_local.interpreter import Interpreter

_SEED_NAME = "zz_dstack_pip.pth"
_PROGRAM, _FILE = 0o700, 0o600
"""Modes of folders and programs, and of files: what no umask takes away, so that another mode is a job's doing."""
_MADE = 946_684_800 * 10**9
"""Time of all that is made: the year 2000, so that whatever is done to it later shows, even in the same instant."""
_LAUNCHER = '#!/bin/sh\nexec "${0%/*}/python" -m pip "$@"\n'
_SEED = """import glob, os, shutil, sys, sysconfig, zipfile
places = [sysconfig.get_config_var("WHEEL_PKG_DIR"), "/usr/share/python-wheels"]
try:
    import ensurepip
    places.insert(0, os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"))
except ImportError:
    pass
wheels = [w for p in places if p for w in sorted(glob.glob(os.path.join(glob.escape(p), "pip-*.whl")))]
if not wheels:
    sys.exit(3)
target = sys.argv[1]
work = "%s.%d" % (target, os.getpid())
os.makedirs(work, 0o700)
with zipfile.ZipFile(wheels[0]) as wheel:
    wheel.extractall(work)
for folder, _, files in os.walk(work):
    os.chmod(folder, 0o700)
    for name in files:
        os.chmod(os.path.join(folder, name), 0o400)
try:
    os.rename(work, target)
except OSError:
    shutil.rmtree(work)
    if not os.path.isdir(target):
        raise
"""

_seeds: dict[Interpreter, str | None] = {}
_lock = threading.Lock()


def make(folder: str, interpreter: Interpreter) -> None:
    """Make the environment `folder`, which must not exist; raises OSError."""
    name = interpreter.name
    folders = _folders(folder, name)
    packages = folders[-1]
    for path in folders:
        os.mkdir(path, _PROGRAM)
    os.symlink("lib", f"{folder}/lib64")
    executable = interpreter.executable
    os.symlink(executable, f"{folder}/bin/python")
    os.symlink("python", f"{folder}/bin/python3")
    os.symlink("python", f"{folder}/bin/{name}")
    _write(
        f"{folder}/pyvenv.cfg",
        f"home = {os.path.dirname(executable)}\ninclude-system-site-packages = false\n"
        f"version = {interpreter.version}\nexecutable = {executable}\n",
    )
    seed = _seed(interpreter)
    if seed:
        # Sorts last among .pth files, so that nothing a job installs comes after it.
        _write(f"{packages}/{_SEED_NAME}", seed + "\n")
    launcher = _LAUNCHER if seed else _no_pip(executable)
    _write(f"{folder}/bin/pip", launcher, _PROGRAM)
    for pip in ("pip3", "pip" + name[len("python") :]):
        os.symlink("pip", f"{folder}/bin/{pip}")
    for path in (*folders, *_files(folder, name)):
        with suppress(FileNotFoundError):
            os.utime(path, ns=(_MADE, _MADE))


def is_as_made(folder: str, interpreter: Interpreter) -> bool:
    """Whether nothing in the environment was added, removed, renamed, written to, or given another mode."""
    name = interpreter.name
    try:
        found = [os.lstat(path) for path in (*_folders(folder, name), *filter(os.path.lexists, _files(folder, name)))]
    except OSError:
        return False
    return all(status.st_mtime_ns == _MADE and stat.S_IMODE(status.st_mode) in (_PROGRAM, _FILE) for status in found)


def _folders(folder: str, name: str) -> tuple[str, ...]:
    return (folder, f"{folder}/bin", f"{folder}/lib", f"{folder}/lib/{name}", f"{folder}/lib/{name}/site-packages")


def _files(folder: str, name: str) -> tuple[str, ...]:
    """What is no folder and no link; the last is there only for an interpreter that came with pip."""
    seed = f"{folder}/lib/{name}/site-packages/{_SEED_NAME}"
    return (f"{folder}/pyvenv.cfg", f"{folder}/bin/pip", seed)


def _write(path: str, text: str, mode: int = _FILE) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _seed(interpreter: Interpreter) -> str | None:
    """The folder with this interpreter's own pip, unpacked at the first use, or when somebody has removed it; None if
    it came without."""
    with _lock:
        seed = _seeds.get(interpreter)
        if interpreter not in _seeds or (seed and not os.path.isdir(seed)):
            seed = _seeds[interpreter] = _make_seed(interpreter)
        return seed


def _make_seed(interpreter: Interpreter) -> str | None:
    cache = f"{dstack_home()}/cache"
    os.makedirs(cache, 0o700, exist_ok=True)
    target = f"{cache}/pip-{interpreter.name}-{interpreter.version}"
    if os.path.isdir(target):
        os.utime(target)  # in use: `dstack gc` removes what nobody has used for long
        return target
    made = subprocess.run(
        [interpreter.executable, "-I", "-c", _SEED, target], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return target if made.returncode == 0 else None


def _no_pip(executable: str) -> str:
    message = (
        f"pip: {executable} came without pip. Install it (Debian, Ubuntu: apt install python3-venv),\n"
        "or choose another Python with `python:` in the workflow."
    )
    return f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(message)} >&2\nexit 1\n"
