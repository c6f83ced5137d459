"""The providers `lab` and `notebook`: the contract, and what is asked of core."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dstack_provider_jupyter import script
from dstack_provider_jupyter.provider import LabProvider, NotebookProvider

from dstack_core.models import ArtifactSpec, Port, Workflow
from dstack_core.testing.provider import ProviderSuite

WRONG = [{"setup": 1}, {"idle_duration": "soon"}, {"idle_duration": "0"}, {"version": "new"}, {"version": "4.1.2.3"},
         {"commands": ["true"]}]  # fmt: skip


class TestLab(ProviderSuite):
    examples = [  # noqa: RUF012
        {}, {"setup": "pip install numpy"}, {"setup": ["a", "b"], "version": "4.2", "idle_duration": "1h30m"},
    ]  # fmt: skip
    invalid = [*WRONG, {"version": "2.3"}]  # noqa: RUF012

    @pytest.fixture
    def provider(self):
        return LabProvider()


class TestNotebook(TestLab):
    examples = [{}, {"version": "7.2.3"}]  # noqa: RUF012
    invalid = [*WRONG, {"version": "6.5"}]  # noqa: RUF012

    @pytest.fixture
    def provider(self):
        return NotebookProvider()


@pytest.mark.parametrize(("provider", "page"), [(LabProvider(), "/lab"), (NotebookProvider(), "/tree")])
def test_what_is_asked_of_core(provider, page):
    spec = provider.job_spec(Workflow("w", "lab", artifacts=(ArtifactSpec("out"),)))
    assert (spec.ports, spec.page) == ((Port(),), page + "?token=${{ job.token }}")
    assert (spec.edits, spec.reusable, spec.artifacts) == (True, False, (ArtifactSpec("out", mount=True),))
    assert "job.token" not in " ".join((*spec.argv, *spec.env.values())), "only the script, a private file, has it"


def test_ports_of_the_workflow_are_kept():
    ports = (Port(8888), Port(6006, name="tensorboard"))
    assert LabProvider().job_spec(Workflow("w", "lab", ports=ports)).ports == ports


@pytest.mark.parametrize("folder", [None, ".", "a", "a/b", "./a/"])
def test_setup_runs_in_the_working_folder_and_the_server_sees_the_whole_checkout(tmp_path, folder):
    work = tmp_path / (folder or ".")
    work.mkdir(parents=True, exist_ok=True)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\npwd; echo "$@"; cd "$5" && pwd; stat -c %a "$1" "$1/token"; cat "$1/token"\n')
    python.chmod(0o755)
    properties = {"setup": ["pwd; cd /; x=1", "echo $x"], "version": "4.2", "idle_duration": "90s"}
    spec = LabProvider().job_spec(Workflow("w", "lab", working_dir=folder, properties=properties))
    program = tmp_path / "program"
    program.write_text(spec.script.replace("${{ job.token }}", "a-token"))
    environ = {"PATH": f"{python.parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run([*spec.argv, str(program)], cwd=work, env=environ, capture_output=True, text=True, check=True)
    before, one, after, options, root, *modes, token = done.stdout.splitlines()
    assert (before, one, after, root) == (str(work), "1", str(work), str(tmp_path))
    assert options.split()[1:4] == ["lab", "4.2", "90"]
    assert (modes, token) == (["700", "600"], "a-token")


def test_without_any_python_it_says_what_to_do(tmp_path):
    program = tmp_path / "program"
    program.write_text(LabProvider().job_spec(Workflow("w", "lab")).script.replace("${{ job.token }}", "a-token"))
    for name in ("mktemp", "mkdir", "cat", "bash"):
        (tmp_path / name).symlink_to(Path("/usr/bin") / name)
    environ = {"PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(["bash", "-e", program], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (127, "")
    assert "install it in `setup:`, or choose an `image:`" in done.stderr


def test_what_the_job_brings_along_is_what_is_here():
    here = Path(script.__file__).with_name("inside")
    text = LabProvider().job_spec(Workflow("w", "lab")).script
    assert all(path.read_text() in text for path in here.glob("*.py"))
    assert "${{" not in text.replace("${{ job.token }}", "")
