"""What the code provider makes of its properties, and how its script finds a server. A real one: `tests/e2e`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dstack_provider_code.provider import CodeProvider

from dstack_core.models import ArtifactSpec, JobSpec, Port, Workflow
from dstack_core.provider import Provider
from dstack_core.testing.provider import ProviderSuite

SAYS = '#!/bin/sh\n[ "$3" != --version ] || { echo "4.0.1 abc with Code 1.0"; exit; }\necho "$0" "$@"\n'


class TestCodeProvider(ProviderSuite):
    examples: ClassVar[list[dict[str, Any]]] = [
        {},
        {"setup": "pip install x", "extensions": ["a.b", "c d.vsix"], "version": "4.100.2", "idle_duration": "1h30m"},
        {"server": "/opt/code", "url": "https://mirror.example/{version}/{os}-{arch}.tar.gz", "sha256": "0" * 64},
    ]
    invalid: ClassVar[list[dict[str, Any]]] = [
        {"idle_duration": "60"}, {"idle_duration": "soon"}, {"version": "4"}, {"server": ""}, {"url": "mirror/x"},
        {"sha256": "xyz"}, {"setup": 1},
    ]  # fmt: skip

    @pytest.fixture
    def provider(self) -> Provider:
        return CodeProvider()

    def test_what_every_workflow_has_is_passed_on(self, provider: Provider, workflows: list[Workflow]) -> None:
        """But for `mount`: what people make must be saved while they are at it."""
        for workflow in workflows:
            spec = provider.job_spec(workflow)
            assert spec.artifacts == tuple(ArtifactSpec(a.path, mount=True) for a in workflow.artifacts)
            assert (spec.ports, spec.env, spec.args) == (workflow.ports, workflow.env, workflow.args)
            assert (spec.working_dir, spec.requirements) == (workflow.working_dir, workflow.resources)


def spec_of(**properties: Any) -> JobSpec:
    provider = CodeProvider()
    checked = provider.properties().model_validate(properties).model_dump()
    return provider.job_spec(Workflow("w", "code", properties=checked))


def test_a_port_a_page_and_what_people_edit() -> None:
    spec = spec_of()
    assert (spec.ports, spec.page, spec.edits, spec.reusable) == (
        (Port(),), "/dstack-login#${{ job.token }}", True, False,
    )  # fmt: skip
    assert not any("token" in word for word in spec.argv)


class Machine:
    """A folder to run scripts in, as an executor would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.bin = folder / "bin"
        self.bin.mkdir()

    def run(self, **properties: Any) -> subprocess.CompletedProcess[str]:
        script = self.folder / "script"
        script.write_text(spec_of(**properties).script.replace("${{ job.token }}", "s3cr3t"))
        env = {
            "PATH": f"{self.bin}:/usr/bin:/bin", "DSTACK_CACHE": str(self.cache), "DSTACK_HOST": "127.0.0.1",
            "DSTACK_RUN": "run-1", "PORT_0": "1234", "TMPDIR": str(self.folder), "PORT": "1", "PASSWORD": "theirs",
        }  # fmt: skip
        return subprocess.run(
            ["bash", "-e", script], cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    def program(self, name: str) -> None:
        path = self.bin / name
        path.write_text(SAYS)
        path.chmod(0o755)

    def archive(self, version: str) -> Path:
        """What a release is, in small; its address may have the platform in it."""
        arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        path = self.folder / f"code-server-{version}-linux-{arch}.tar.gz"
        self.program("made")
        with tarfile.open(path, "w:gz") as archive:
            archive.add(self.bin / "made", f"code-server-{version}/bin/code-server")
        return path

    @property
    def url(self) -> str:
        return f"file://{self.folder}/code-server-{{version}}-{{os}}-{{arch}}.tar.gz"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_one_on_the_path_is_taken(machine: Machine) -> None:
    machine.program("code-server")
    done = machine.run(setup=["cd /", "echo set up"], idle_duration="10m")
    assert done.stdout.startswith(f"set up\n{machine.bin}/code-server --config ")
    assert done.stdout.endswith(f" --idle-timeout-seconds 600 {machine.folder}\n")
    assert "--bind-addr 127.0.0.1:1234 " in done.stdout
    (config,) = machine.folder.glob("code.*/config.yaml")
    assert (config.read_text(), config.stat().st_mode & 0o777) == ("password: s3cr3t\n", 0o600)
    assert "s3cr3t" not in done.stdout
    assert machine.run(version="4.0.1").stdout.startswith(f"{machine.bin}/code-server --config ")


def test_extensions_come_first(machine: Machine) -> None:
    machine.program("code-server")
    done = machine.run(extensions=["ms-python.python", "my own.vsix"])
    first, second = done.stdout.splitlines()
    assert first.endswith(" --install-extension=ms-python.python --install-extension=my own.vsix")
    assert "install-extension" not in second
    (machine.bin / "code-server").write_text("#!/bin/sh\nexit 1\n")
    done = machine.run(extensions="x.y")
    assert (done.returncode, done.stderr) == (1, "dstack: an extension could not be installed: x.y\n")


def test_a_version_of_2023_is_any(machine: Machine) -> None:
    machine.program("code-server")
    assert machine.run(version="1.72.3").stdout.startswith(f"{machine.bin}/code-server --config ")


def test_a_server_of_the_user_s(machine: Machine) -> None:
    machine.program("mine")
    assert machine.run(server="mine").stdout.startswith(f"{machine.bin}/mine --config ")
    done = machine.run(server="yours")
    assert (done.returncode, done.stderr) == (1, "dstack: there is no program yours\n")


def test_a_release_is_downloaded_once(machine: Machine) -> None:
    machine.program("code-server")  # another version than the one that is wanted
    archive = machine.archive("4.1.0")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    given = {"version": "4.1.0", "url": machine.url, "sha256": digest}
    first = machine.run(**given)
    assert "downloading code-server 4.1.0" in first.stderr
    archive.unlink()
    again = machine.run(**given)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.split()[0] == first.stdout.split()[0]
    assert Path(first.stdout.split()[0]).is_relative_to(machine.cache)
    assert sorted(path.name[:11] for path in machine.cache.iterdir()) == ["code-server", "code-server"]


def test_what_is_not_the_release_is_not_started(machine: Machine) -> None:
    digest = hashlib.sha256(machine.archive("4.1.0").read_bytes()).hexdigest()
    wrong = machine.run(version="4.1.0", url=machine.url, sha256="0" * 64)
    assert wrong.returncode == 1
    assert f"has the SHA-256 {digest}, and not 0000" in wrong.stderr
    missing = machine.run(version="4.2.0", url=machine.url)
    assert missing.returncode == 1
    assert "cannot be had from file://" in missing.stderr
    (machine.folder / "text.tar.gz").write_text("<html>")
    text = machine.run(url=f"file://{machine.folder}/text.tar.gz")
    assert "is no archive of code-server" in text.stderr
    assert list(machine.cache.iterdir()) == []


def test_two_that_come_at_once_have_one(machine: Machine) -> None:
    """The other has put it there while this one downloaded."""
    machine.archive("4.1.0")
    there = machine.cache / "code-server-4.1.0-"
    curl = machine.bin / "curl"
    curl.write_text(
        f'#!/bin/sh\ncp "${{6#file://}}" "$5"\nfor draft in {there}*.*; do made=${{draft%.*}}; done\n'
        f'mkdir -p "$made/bin"; cp {machine.bin}/made "$made/bin/code-server"; touch "$made/theirs"\n'
    )
    curl.chmod(0o755)
    done = machine.run(version="4.1.0", url=machine.url)
    assert done.returncode == 0, done.stderr
    (found,) = (path for path in machine.cache.iterdir() if path.name.startswith("code-server-4"))
    assert sorted(path.name for path in found.iterdir()) == ["bin", "theirs"]
