"""`python:` and what a job installs."""

from __future__ import annotations

import glob
import os
import sys
import zipfile

import pytest

PYENV = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
OTHERS = sorted(
    {
        tuple(map(int, os.path.basename(path).split(".")[:2]))
        for path in glob.glob(f"{PYENV}/versions/3.*")
        if os.access(f"{path}/bin/python", os.X_OK)
    }
    - {sys.version_info[:2]}
)
SHOW = "import sys; print('%d.%d' % sys.version_info[:2])"


@pytest.mark.parametrize("quoted", [False, True], ids=["as a number", "as text"])
def test_the_version_that_is_asked_for_runs(project, quoted):
    found = [version for version in OTHERS if version >= (3, 8)]
    if not found:
        pytest.skip("needs a second Python (pyenv)")
    # 3.10 written as a number must not become 3.1.
    version = "3.10" if (3, 10) in found else "{}.{}".format(*found[-1])
    project.write("show.py", SHOW)
    written = f"'{version}'" if quoted else version
    project.workflows(
        f"- {{name: work, provider: bash, python: {written}, commands: ['python show.py; python3 show.py']}}"
    )
    assert project.dstack("run", "work").out == f"{version}\n{version}\n"


def test_without_a_version_it_is_the_one_of_dstack(project):
    done = project.dstack("run", "bash", "-c", f'python -c "{SHOW}"')
    assert done.out == "{}.{}\n".format(*sys.version_info[:2])


def test_a_version_that_is_not_there_is_told(project):
    done = project.dstack("run", "bash", "--python", "3.99", "-c", "true", expect=65)
    assert not project.runs()
    assert "Python 3.99 is not on this machine" in done.err
    assert "uv python install 3.99" in done.err


@pytest.fixture
def wheel(tmp_path):
    """A distribution `tinyish` with a module and a program."""
    info = "tinyish-1.0.dist-info"
    path = tmp_path / "tinyish-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tinyish.py", "def main():\n    print('tinyish works')\n")
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyish\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntinyish = tinyish:main\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_what_a_job_installs_is_its_own(project, wheel):
    have = "python -c \"import importlib.util as u; print(u.find_spec('tinyish') is not None)\""
    project.write("have.sh", have)
    project.workflows(f"""
        - name: install
          provider: bash
          artifacts: [x]
          setup: ['pip install -q --no-index {wheel}']
          commands: [tinyish, sh have.sh]
        - {{name: look, provider: bash, deps: [install], commands: [sh have.sh]}}
        """)
    done = project.dstack("run", "look")
    assert done.out.splitlines() == ["install | tinyish works", "install | True", "look    | False"]
    assert "tinyish" not in {path.name for path in project.root.rglob("*")}
    with pytest.raises(ImportError):
        __import__("tinyish")


def test_the_packages_of_dstack_are_not_the_jobs(project):
    look = "python -c \"import importlib.util as u; print(u.find_spec('dstack_core'))\""
    assert project.dstack("run", "bash", "-c", look).out == "None\n"


def test_an_environment_that_no_job_touched_is_the_next_ones(project):
    where = f"stat -c %i $VIRTUAL_ENV >> {project.sync}/inodes"
    touched, fresh = f"touch $VIRTUAL_ENV/mine; {where}", "test ! -e $VIRTUAL_ENV/mine"
    jobs = [("first", where, ""), ("second", touched, "first"), ("third", fresh, "second")]
    project.workflows("".join(f"- {{name: {n}, provider: bash, commands: ['{c}'], deps: [{d}]}}\n" for n, c, d in jobs))
    project.dstack("run", "third")
    first, second = (project.sync / "inodes").read_text().split()
    assert first == second
