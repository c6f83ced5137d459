"""Jupyter as jobs find it on a machine where others have used it: installed by the product's own code, once.

It is kept by its Python below DSTACK_TEST_CACHE, by default `~/.cache/dstack-tests`. It takes half a minute and 300 MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dstack_provider_jupyter
import pytest
from cloud_image import cache

FIND = "import sys; from inside.installing import find; print(find(*sys.argv[1:]), file=sys.stderr)"


@pytest.fixture(scope="session")
def jupyter() -> Callable[[Path], None]:
    """Puts JupyterLab and Notebook where jobs share what they download: `jupyter(project.home / "cache" / "jobs")`."""
    shared = cache() / "jobs"
    found = Path(_find("notebook", shared))
    names = [found.name, f"jupyterlab-4-{found.name.split('-', 2)[2]}"]  # Notebook brings JupyterLab

    def give(folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(found, folder / names[0], copy_function=_link, symlinks=True)
        (folder / names[1]).symlink_to(names[0])  # also as a container sees it

    return give


def _find(kind: str, shared: Path) -> str:
    package = Path(dstack_provider_jupyter.__file__).parent
    environ = {**os.environ, "DSTACK_CACHE": str(shared), "PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", FIND, kind, ""], env=environ, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)
