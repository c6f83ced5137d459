"""JupyterLab on a machine elsewhere, in a browser here, while the network is cut and comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from aws_box import aws, aws_box
from docker_archives import keep_archive
from elsewhere import Elsewhere, elsewhere
from jupyter import jupyter_files, package_names
from jupyter_page import PRINTED, notebook, opened, run_cell
from weed import weed

__all__ = ["aws", "aws_box", "elsewhere", "weed"]
IMAGE = "box-jupyter"
SHARED = "/opt/jobs"


@pytest.fixture
def limits() -> dict[str, str]:
    return {"lease": "120s"}


def files(packages: Path) -> list[tuple[str, Path | bytes | str]]:
    """An image that brings what a job there would download."""
    found = dict(jupyter_files(packages))
    for path in packages.rglob("*"):
        if path.is_file() or path.is_symlink():
            name = f"{SHARED.lstrip('/')}/{path.relative_to(packages.parent)}"
            found[name] = os.readlink(path) if path.is_symlink() else path
    return sorted(found.items())


def test_a_notebook_goes_on_where_it_was(elsewhere: Elsewhere, jupyter_packages: Path, browser):
    project = elsewhere.project
    archive = keep_archive(elsewhere.aws.box.images, IMAGE, files(jupyter_packages))
    project.env["BOX_IMAGE"] = elsewhere.aws.image("jupyter", images=(archive,))
    named = package_names(jupyter_packages)
    places = [f"ln -s {SHARED}/{jupyter_packages.name} $DSTACK_CACHE/{name}" for name in named]
    project.write("demo.ipynb", notebook("# A cell"))
    project.workflows(f"""
- name: ide
  provider: lab
  image: {IMAGE}
  setup: ["{places[0]}", "{places[1]}"]
""")
    following = project.terminal("run", "-r", "ide")
    following.timeout = 300
    following.expect(PRINTED)
    page = opened(browser, following.match.group(0), "demo.ipynb")
    assert "it is 42" in run_cell(page, "x = 42; print('it is', x)")
    (run,) = elsewhere.runs()
    (machine,) = elsewhere.machines(run)
    elsewhere.aws.cut(machine.handle, True)
    following.expect("the way to ide is cut off")
    elsewhere.aws.cut(machine.handle, False)
    following.expect("the way to ide is open again")
    page.reload()  # a page that was cut off for long has given up
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    assert "it is still 42" in run_cell(page, "print('it is still', x)"), "the same kernel, at the same address"
    page.keyboard.press("Control+s")
    elsewhere.wait_for(lambda: elsewhere.job(run, "ide").edits, "the notebook to be saved")
    project.dstack("stop", "-y", run)
    assert elsewhere.finished(run).status() == "stopped"
    elsewhere.wait_for(lambda: {m.status for m in elsewhere.machines(run)} == {"gone"}, "the machine to leave")
    project.dstack("code", "pull", "-y", run)
    assert "it is still" in (project.root / "demo.ipynb").read_text()
