"""Starts the server. Options go to it inside this process: a command line can be read by others."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from typing import Any, List, Optional

from .installing import PROJECTS, find

AUTOSAVE = 10
"""Seconds after which JupyterLab saves what was typed."""
QUIET = {
    "@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": AUTOSAVE},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
"""Settings that users can change."""


def main() -> None:
    """`KIND VERSION IDLE ROOT`, in the job's working folder; see `script` of the provider."""
    kind, version, idle, root = sys.argv[1:]
    here = sys.path.pop(0)  # this program's folder has names that a notebook might want to import
    token = _take(os.path.join(here, "token"))
    packages = find(kind, version)
    _prepare(here, packages)
    app = _server(kind).initialize_server(argv=_options(here, token, os.path.abspath(root)))
    print(f"{PROJECTS[kind][1]} is ready, in {'the job' if packages is None else 'a folder of its own'}.", flush=True)
    if float(idle):
        from .idle import Idle

        Idle(app, float(idle)).watch()
    app.start()


def _take(path: str) -> str:
    with open(path) as file:
        token = file.read()
    os.unlink(path)
    return token


def _prepare(here: str, packages: Optional[str]) -> None:
    """Jupyter's own folders: nothing of the user's other servers, nothing in the checkout."""
    kept = os.path.join(os.environ.get("DSTACK_CACHE") or here, "jupyter")
    for name in ("runtime", "config/labconfig", "workspaces", "checkpoints"):
        os.makedirs(os.path.join(here, name), 0o700)
    os.makedirs(kept, 0o700, exist_ok=True)
    os.environ.update(
        JUPYTER_RUNTIME_DIR=os.path.join(here, "runtime"),
        JUPYTER_CONFIG_DIR=os.path.join(here, "config"),
        JUPYTER_DATA_DIR=kept,
        JUPYTERLAB_SETTINGS_DIR=os.path.join(kept, "settings"),
        JUPYTERLAB_WORKSPACES_DIR=os.path.join(here, "workspaces"),
        JUPYTER_PLATFORM_DIRS="1",
    )
    _write(os.path.join(here, "config", "labconfig", "default_setting_overrides.json"), QUIET)
    if packages:
        sys.path.insert(0, packages)
        os.environ.update(
            JUPYTER_PATH=os.pathsep.join([os.path.join(here, "share"), os.path.join(packages, "share", "jupyter")]),
            JUPYTER_CONFIG_PATH=os.path.join(packages, "etc", "jupyter"),
            JUPYTERLAB_DIR=os.path.join(packages, "share", "jupyter", "lab"),
        )
        _write_kernel(here, packages)


def _write_kernel(here: str, packages: str) -> None:
    """The job's Python as a kernel: what its packages lack is taken from those of Jupyter."""
    folder = os.path.join(here, "share", "kernels", "python3")
    pictures = os.path.join(packages, "share", "jupyter", "kernels", "python3")
    shutil.copytree(pictures, folder)
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel.py")
    kernel = {
        "argv": [sys.executable, "-Xfrozen_modules=off", program, packages, "-f", "{connection_file}"],
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "metadata": {"debugger": True},
    }
    _write(os.path.join(folder, "kernel.json"), kernel)


def _server(kind: str) -> Any:
    if kind == "lab":
        from jupyterlab.labapp import LabApp

        return LabApp
    from notebook.app import JupyterNotebookApp

    return JupyterNotebookApp


def _options(here: str, token: str, root: str) -> List[str]:
    """What no config file of an image may change."""
    shell = _shell(here)
    chosen = {
        "ServerApp.ip": os.environ.get("DSTACK_HOST", "127.0.0.1"),
        "ServerApp.port": os.environ["PORT_0"],
        "ServerApp.port_retries": "0",
        "ServerApp.root_dir": root,
        "ServerApp.preferred_dir": os.getcwd(),
        "ServerApp.open_browser": "False",
        "ServerApp.allow_root": "True",
        # In a container it listens at all addresses; whoever asks must have asked for this machine all the same.
        "ServerApp.allow_remote_access": "False",
        "ServerApp.allow_origin": "",
        "ServerApp.allow_origin_pat": "",
        "ServerApp.disable_check_xsrf": "False",
        "ServerApp.terminado_settings": f"shell_command={shell}",
        "IdentityProvider.token": token,
        "Application.log_level": "WARN",
        "ContentsManager.checkpoints_class": f"{__package__}.checkpoints.Checkpoints",
        "FileCheckpoints.checkpoint_dir": os.path.join(here, "checkpoints"),
    }
    return [f"--{name}={value}" for name, value in chosen.items()]


def _shell(here: str) -> str:
    """A terminal's shell: the user's own settings, but the job's programs."""
    path = os.path.join(here, "bashrc")
    with open(path, "w") as file:
        file.write(f"if [ -f ~/.bashrc ]; then . ~/.bashrc; fi\nexport PATH={shlex.quote(os.environ['PATH'])}\n")
    return f"bash --rcfile {shlex.quote(path)}"


def _write(path: str, value: Any) -> None:
    with open(path, "w") as file:
        json.dump(value, file)
