"""Whole pipelines in an account of AWS: the example that people see first, and many jobs on several machines."""

from __future__ import annotations

import json
import shutil

import pytest
from aws_box import aws, aws_box
from ec2_remote import Ec2Remote, ec2
from elsewhere import IMAGE, limits
from python_wheels import keep_python, keep_wheels

from dstack_core.testing.waiting import until

from .test_digits import EXAMPLE, FILES

__all__ = ["aws", "aws_box", "ec2", "limits"]

MINUTES = 60.0
MACHINES, JOBS = 4, 20
ASK = r"PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
"""How who is the machine gets a token of its metadata service, with which it gets the machine's credentials."""
WIDE = f"""
- name: one
  provider: bash
  image: {IMAGE}
  matrix: {{number: {list(range(JOBS))}}}
  env: {{N: "${{{{ matrix.number }}}}"}}
  commands: [mkdir -p numbers/$N, sleep 3, echo $N > numbers/$N/is]
  artifacts: ["numbers/${{{{ matrix.number }}}}"]
  resources: {{cpu: 1}}
- name: sum
  provider: bash
  image: {IMAGE}
  deps: [one]
  commands:
    - cat numbers/*/is | sort -n | tail -1
    - exec 3<>/dev/tcp/169.254.169.254/80
    - 'printf "{ASK}" >&3'
    - read -rt 5 -u 3 answer || true
    - 'echo "a token? ${{answer:-none}}"'
"""


def _finish(ec2: Ec2Remote, run: str, patience: float) -> None:
    """Wait for the end of a run that takes long, with few questions: the emulator answers one at a time."""
    view = ec2.view(run)

    def over() -> bool:
        view.refresh()
        return view.finished

    until(over, "the run to finish", patience, pause=1, story=ec2.story)


@pytest.mark.timeout(20 * MINUTES)
def test_the_example_on_machines_of_ec2(ec2: Ec2Remote):
    """Its code, its requirements installed in a container, a dep's artifacts; and the laptop is closed meanwhile."""
    shutil.copytree(EXAMPLE, ec2.project.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "model"))
    images = ec2.aws.box.images
    ami = ec2.aws.image(name="python", images=(keep_python(images),))
    docker = keep_wheels(images, EXAMPLE / "requirements.txt")
    ec2.write_config(
        {**ec2.settings, "ec2": {**ec2.settings["ec2"], "ami": ami}, "docker": docker}, machines="1", lease="60s"
    )
    run = ec2.submit("train-digits")
    _finish(ec2, run, 15 * MINUTES)
    assert dict(ec2.view(run).progress.status) == {"digits-data": "done", "train-digits": "done"}, ec2.story()
    assert len(ec2.instances()) == 1, "both jobs fit one machine"
    assert "epoch 30/30" in ec2.project.dstack("logs", run).out
    files = json.loads(ec2.project.dstack("ls", "-r", "--json", run).out)
    assert {file["path"] for file in files} == FILES
    ec2.project.dstack("cp", run, "model/metrics.json", str(ec2.project.folder / "metrics.json"))
    assert json.loads((ec2.project.folder / "metrics.json").read_text())["accuracy"] > 0.95
    plan = json.loads(ec2.project.dstack("plan", "-r", "train-digits", "--json").out)
    assert {job["decision"] for job in plan["jobs"]} == {"reuse"}


@pytest.mark.timeout(10 * MINUTES)
def test_twenty_jobs_share_four_machines(ec2: Ec2Remote):
    ec2.project.workflows(WIDE)
    ec2.write_config(ec2.settings, machines=str(MACHINES), lease="60s")
    run = ec2.submit("sum")
    _finish(ec2, run, 8 * MINUTES)
    view = ec2.view(run)
    assert view.run.status == "done", ec2.story()
    assert len(view.progress.status) == JOBS + 1
    assert ec2.log(run, "sum") == f"{JOBS - 1}\na token? none\n", "none got into the container"
    records = ec2.machines(run)
    assert len(records) == len(ec2.instances()) == MACHINES
    attempts = [document.value.attempts for document in view.jobs.values()]
    assert all(len(one) == 1 for one in attempts), "each was done once"
    assert len({one[0].machine for one in attempts}) > 1
    ec2.wait_for(lambda: {record.status for record in ec2.machines(run)} == {"gone"}, "machines to leave")
