"""Where a job's Jupyter is: in its own environment, else in a folder that jobs share, made by pip at the first use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import Iterator, List, Optional

PROJECTS = {"lab": ("jupyterlab", "JupyterLab", "4"), "notebook": ("notebook", "Jupyter Notebook", "7")}
"""Of each kind: the distribution, what people call it, and the version that is taken when none is asked for."""


def find(kind: str, version: str) -> Optional[str]:
    """The folder with Jupyter's packages, to be put on the path; None: they are in the job's own environment.

    Exits with a message when it can neither be found nor be installed.
    """
    project, _, default = PROJECTS[kind]
    there = _installed(project)
    if there is not None and _suits(there, version):
        return None
    folder = os.path.join(_cache(), "-".join([project, version or default, _platform()]))
    if not os.path.isdir(folder):
        _install(kind, version or default, folder)
    os.utime(folder)  # in use
    return folder


def _installed(project: str) -> Optional[str]:
    from importlib import metadata

    try:
        return metadata.version(project)
    except metadata.PackageNotFoundError:
        return None


def _suits(there: str, wanted: str) -> bool:
    return not wanted or f"{there}.".startswith(f"{wanted}.")


def _cache() -> str:
    folder = os.environ.get("DSTACK_CACHE") or os.path.expanduser("~/.cache/dstack-jobs")
    os.makedirs(folder, 0o700, exist_ok=True)
    return folder


def _platform() -> str:
    """What compiled packages are made for: jobs in several images may share the folder."""
    libc = ""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").replace(" ", "")
    abi = sysconfig.get_config_var("SOABI") or f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    return "-".join(filter(None, [str(abi), libc]))


def _install(kind: str, version: str, folder: str) -> None:
    """Whole or not at all; who comes meanwhile waits, and who was killed in the middle has left nothing that counts."""
    project, name, _ = PROJECTS[kind]
    wanted = f"{project}=={version}" + (".*" if version.count(".") < 2 else "")
    with _locked(folder + ".lock"):
        if os.path.isdir(folder):
            return
        print(f"Installing {name} {version}, once for all jobs with this Python ...", flush=True)
        above, base = os.path.split(folder)
        prefix = f".{base}."
        for left in os.listdir(above):
            if left.startswith(prefix):
                shutil.rmtree(os.path.join(above, left), ignore_errors=True)
        made = tempfile.mkdtemp(prefix=prefix, dir=above)
        if not _run_installer(made, wanted):
            shutil.rmtree(made, ignore_errors=True)
            sys.exit(
                f"dstack: {name} could not be installed; see above. Is the package index reachable from here?\n"
                f"dstack: A job whose own environment has {project}, by `setup:` or `image:`, needs no installation."
            )
        os.rename(made, folder)


def _run_installer(target: str, wanted: str) -> bool:
    installers = _installers(target, wanted)
    if not installers:
        print(f"dstack: {sys.executable} has neither pip nor uv", file=sys.stderr)
        return False
    done = subprocess.run(installers[0], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, end="", file=sys.stderr, flush=True)
    return done.returncode == 0


def _installers(target: str, wanted: str) -> List[List[str]]:
    """Commands that would install, the best first. Another Python's pip is none."""
    quiet = ["--quiet", "--target", target, wanted]
    pip = ["install", "--no-input", "--progress-bar=off", "--no-warn-script-location", *quiet]
    found = []
    if _works([sys.executable, "-m", "pip", "--version"]):
        found.append([sys.executable, "-m", "pip", *pip])
    if shutil.which("uv"):
        found.append(["uv", "pip", "install", "--python", sys.executable, *quiet])
    if shutil.which("pip") and f"(python {sys.version_info[0]}.{sys.version_info[1]})" in _said(["pip", "--version"]):
        found.append(["pip", *pip])
    return found


def _works(command: List[str]) -> bool:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def _said(command: List[str]) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel frees it, however its owner ends
        yield
