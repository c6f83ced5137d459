"""Jupyter as jobs find it on a machine where others have used it: installed by the product's own code, once.

It is kept by its Python below DSTACK_TEST_CACHE, by default `~/.cache/dstack-tests`. It takes half a minute and 300 MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import dstack_provider_jupyter
import pytest
from cloud_image import cache
from docker_images import import_image, libraries, python_files

_BASE = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
FIND = "import sys; from inside.installing import find; print(find(*sys.argv[1:]), file=sys.stderr)"


@pytest.fixture(scope="session")
def jupyter_packages() -> Path:
    """Notebook, and JupyterLab, which it brings."""
    return Path(_find("notebook", cache() / "jobs"))


@pytest.fixture(scope="session")
def jupyter_image(engine: str, jupyter_packages: Path) -> str:
    """See `jupyter_files`."""
    return import_image("dstack-test-jupyter", jupyter_files(jupyter_packages))


def jupyter_files(jupyter_packages: Path) -> list[tuple[str, Path | bytes | str]]:
    """The image `python_image`, with pip, and with the libraries of the system that wheels count on."""
    files = dict(python_files())
    for path in jupyter_packages.rglob("*.so"):
        outside = (found for found in libraries(path) if jupyter_packages not in found.parents)
        files.update({str(found).lstrip("/"): Path(os.path.realpath(found)) for found in outside})
    files[f"{sysconfig.get_path('purelib', vars=_BASE)}/pip.pth".lstrip("/")] = b"/opt/pip.whl\n"
    return sorted(files.items())


def package_names(jupyter_packages: Path) -> list[str]:
    """By which jobs look for it where they share things: Notebook's, and JupyterLab's."""
    return [jupyter_packages.name, f"jupyterlab-4-{jupyter_packages.name.split('-', 2)[2]}"]


@pytest.fixture(scope="session")
def jupyter(jupyter_packages: Path) -> Callable[..., None]:
    """Puts JupyterLab and Notebook where jobs share what they download: `jupyter(project.home / "cache" / "jobs")`.

    `copy`: for containers, which would not see where a link leads.
    """
    found = jupyter_packages
    names = package_names(found)

    def give(folder: Path, *, copy: bool = False) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if copy:
            shutil.copytree(found, folder / names[0], copy_function=_link, symlinks=True)
        else:
            (folder / names[0]).symlink_to(found)
        (folder / names[1]).symlink_to(names[0])

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
