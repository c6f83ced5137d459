"""A project whose remote `elsewhere` has machines that are other computers, and a store in S3 that both reach."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import cloud_image
import pytest
from aws_box import Account, Box
from docker_archives import keep_archive
from docker_images import shell_files
from dstack_aws.s3_store import S3Store
from weed import S3Server

from dstack_core._content.logs import LogReader
from dstack_core._engine.view import RunView
from dstack_core._ledger.machines import machines
from dstack_core._ledger.records import FINISHED, JobRecord, MachineRecord
from dstack_core._ledger.runs import log_prefix, read_run
from dstack_core.testing.waiting import until

IMAGE = "box-shell"
PIPELINE = f"""
- name: data
  provider: bash
  image: {IMAGE}
  commands: ["seq 1000 > rows.txt", "echo on $(hostname)"]
  artifacts: [rows.txt]
- name: train
  provider: bash
  image: {IMAGE}
  deps: [data]
  commands: ["wc -l < rows.txt > model.txt", "cat model.txt"]
  artifacts: [model.txt]
  resources: {{memory: 8GB}}
"""
"""Two steps, of which the second needs a larger machine."""
PATIENCE = 150.0
PLUGIN = Path(__file__).with_name("box_plugin")
T = TypeVar("T")


class Elsewhere:
    """What a test does with the project, the machines, and what the store has."""

    def __init__(self, project: Any, aws: Account, weed: S3Server, limits: dict[str, str]) -> None:
        self.project = project
        self.aws = aws
        settings = {"bucket": weed.bucket, "prefix": f"elsewhere-{os.urandom(6).hex()}", "endpoint_url": weed.endpoint}
        self.store = S3Store(settings)
        image = aws.image(images=(keep_archive(aws.box.images, IMAGE, shell_files()),))
        box = {"BOX_ENDPOINT": aws.box.address, "BOX_KEY": aws.key, "BOX_SECRET": aws.secret, "BOX_IMAGE": image}
        credentials = {"AWS_ACCESS_KEY_ID": weed.key, "AWS_SECRET_ACCESS_KEY": weed.secret}
        aws.boot({**box, **credentials}, ports=(urlsplit(weed.endpoint).port or 0,))
        self._configure(settings, limits)
        project.env = {k: v for k, v in project.env.items() if not k.startswith("AWS_")}
        # No engine: the machine on which a command is given need not have one.
        site = {"PYTHONPATH": str(_install(project.folder / "site")), "DOCKER_HOST": f"unix://{project.folder}/none"}
        project.env.update(weed.environ, **box, **site)

    def _configure(self, s3: dict[str, str], limits: dict[str, str]) -> None:
        remote = {"backend": "box", "artifact_store": "s3", "settings": {"s3": s3}, **limits}
        (self.project.home / "config.yaml").write_text(json.dumps({"remotes": {"elsewhere": remote}}))
        # What is packed is the same for all tests, and takes a while.
        bundles = cloud_image.cache() / "bundles"
        bundles.mkdir(exist_ok=True)
        (self.project.home / "cache" / "bundles").symlink_to(bundles)

    def submit(self, *arguments: str) -> str:
        """The name of a new run, which nobody follows."""
        before = set(self.runs())
        self.project.dstack("run", "-r", "-d", *arguments)
        (new,) = set(self.runs()) - before
        return new

    def runs(self) -> list[str]:
        return [info.key.split("/")[1] for info in self.store.list("runs/") if info.key.endswith("/run.json")]

    def view(self, run: str) -> RunView:
        return RunView(self.store, run)

    def finished(self, run: str) -> RunView:
        """The run, when it is finished. Only looks."""
        self.wait_for(lambda: read_run(self.store, run).value.status in FINISHED, f"{run} to finish")
        return self.view(run)

    def job(self, run: str, name: str) -> JobRecord:
        return self.view(run).jobs[name].value

    def job_count(self, run: str) -> int:
        """How many jobs have a record: were worked on, or ended."""
        return len(self.view(run).jobs)

    def machines(self, run: str) -> list[MachineRecord]:
        return [document.value for document in machines(self.store, run)]

    def waiting(self) -> list[dict[str, Any]]:
        """Machines that wait for another run, as `dstack machines` tells of them."""
        rows = json.loads(self.project.dstack("machines", "--json").out)["machines"]
        return [row for row in rows if row["status"] == "idle"]

    def log(self, run: str, job: str, attempt: int = 1) -> str:
        reader = LogReader(self.store, log_prefix(run, job, attempt))
        return b"".join(entry.data for entry in reader.read_all() if entry.stream in "oe").decode()

    def said(self, run: str, job: str, text: str, attempt: int = 1) -> MachineRecord:
        """Wait until a job has said something; the machine that it runs on."""
        self.wait_for(lambda: text in self.log(run, job, attempt), f"{job} to say {text}")
        machine = self.job(run, job).attempts[attempt - 1].machine
        return next(record for record in self.machines(run) if record.id == machine)

    def spoil_bundle(self) -> None:
        """Put other bytes in the place of what machines start from: as many, but not those."""
        (key,) = [info.key for info in self.store.list("bundles/") if info.key.endswith("/archive")]
        self.store.write(key, bytes(len(self.store.read(key).data)))

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        return until(condition, what, PATIENCE, pause=0.05, story=self.story)

    def story(self) -> str:
        """What happened, for the message of a failed assertion."""
        lines = []
        for info in self.store.list("runs/"):
            if info.key.endswith(".json") or "/said/" in info.key:
                lines.append(self.store.read(info.key).data.decode())
        lines += [self.store.read(info.key).data.decode() for info in self.store.list("machines/")]
        for reservation in self.aws.client("ec2").describe_instances()["Reservations"]:
            for instance in reservation["Instances"]:
                name = instance["InstanceId"]
                lines.append(f"--- {name} {instance['State']['Name']}\n{self.aws.console(name)[-3000:]}")
                if instance["State"]["Name"] == "running":
                    with contextlib.suppress(RuntimeError):  # it goes at this very moment
                        lines.append(self.aws.run(name, "tail", "-c", "3000", "/var/log/dstack.log").out)
        return "\n".join(lines)


def _install(site: Path) -> Path:
    """The backend as a distribution, as pip installs one."""
    info = site / "dstack_box-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(PLUGIN / "dstack_box.py", site)
    requires = "Requires-Dist: dstack-core\nRequires-Dist: botocore\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dstack-box\nVersion: 1.0\n{requires}")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "entry_points.txt").write_text("[dstack.plugins]\nbox = dstack_box\n")
    names = ["dstack_box.py", *(f"{info.name}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD"))]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    return site


@pytest.fixture
def limits() -> dict[str, str]:
    """What the remote allows; a test may have others."""
    return {"lease": "45s"}


@pytest.fixture
def elsewhere(
    project: Any, aws: Account, aws_box: Box, weed: S3Server, limits: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Elsewhere:
    """The project."""
    for name, value in weed.environ.items():
        monkeypatch.setenv(name, value)
    return Elsewhere(project, aws, weed, limits)
