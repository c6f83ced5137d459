"""A run on machines of the emulated AWS: how long until something is seen of it, and what a machine asks its store for.

    python bench/remote.py [--full] [--rounds N] [--seconds N]

Machines are containers that boot for real (see "A cloud in a box" in CONTRIBUTING.md; it needs root and Docker). What a
machine needs to boot is measured by turns with machines that do nothing else, and taken off. What machines start from
is packed and stored by a first run, which is not measured; a note says how long that took.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Report, options, scratch, timed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import cloud_image
from aws_box import SERVER, Account, Box
from cloud_shared import shared
from ec2_remote import Ec2Remote
from elsewhere import IMAGE

from tests.e2e.conftest import Project

FIRST_LINE = 5.0
"""Seconds from the command to the first line of a job's log, beyond what a machine needs to boot."""
NEXT_JOB = 1.0
"""Seconds from a job's last command to the first one of the next job on the same machine."""
REQUESTS = 4000
"""That a machine makes to its store in an hour in which one job works and says nothing; its first minute has more."""
HOUR = 3600.0
WORKFLOWS = f"""
- {{name: hello, provider: bash, image: {IMAGE}, commands: ["echo here"]}}
- {{name: first, provider: bash, image: {IMAGE}, commands: ["cat /proc/uptime > end.txt"], artifacts: [end.txt]}}
- name: second
  provider: bash
  image: {IMAGE}
  deps: [first]
  commands: ["read now rest < /proc/uptime; read then rest < end.txt; echo $then $now"]
- {{name: quiet, provider: bash, image: {IMAGE}, commands: ["echo here", "sleep 600"]}}
"""


@contextmanager
def remote(folder: Path) -> Iterator[Ec2Remote]:
    """A project with machines."""
    cloud_image.disk()
    (folder / "server").mkdir()
    with shared(folder / "server", SERVER) as about:
        aws: Account = Box(about).account()
        project = Project(folder)
        (project.home / "cache").mkdir(parents=True)
        for name, value in aws.environ.items():
            os.environ[name] = value
        there = Ec2Remote(project, aws, {"lease": "60s"})
        project.workflows(WORKFLOWS)
        try:
            yield there
        finally:
            project.close()
            aws.close(check=False)


def first_line(there: Ec2Remote) -> float:
    """Seconds from the command to what its job says, as the command shows it."""
    started = time.monotonic()
    process = there.project.start("run", "-r", "--force", "hello")
    assert process.stdout is not None
    seen = next((time.monotonic() for line in process.stdout if "here" in line), None)
    there.project.end(process)
    assert seen is not None
    return seen - started


def boot(there: Ec2Remote) -> float:
    """Seconds from asking for a machine until it does what it was told to."""
    started = time.monotonic()
    name = there.aws.launch("#!/bin/bash\necho it is up\n", ImageId=there.settings["ec2"]["ami"])

    def is_up() -> bool:
        with contextlib.suppress(RuntimeError):  # there is no machine yet
            return "it is up" in there.aws.console(name)
        return False

    there.aws.wait_for(is_up, "a machine to boot")
    took = time.monotonic() - started
    there.aws.client("ec2").terminate_instances(InstanceIds=[name])
    return took


def submitted(there: Ec2Remote, workflow: str) -> str:
    """The name of a new run, which nobody follows."""
    before = set(there.runs())
    there.project.dstack("run", "-r", "-d", "--force", workflow)
    (run,) = set(there.runs()) - before
    return run


def next_job(there: Ec2Remote) -> float:
    """Seconds between two jobs on a machine, by the machine's clock."""
    run = submitted(there, "second")
    there.project.wait_for(lambda: there.view(run).finished, "the run to finish", 180)
    then, now = map(float, there.log(run, "second").split())
    return now - then


def requests(there: Ec2Remote, seconds: int) -> Counter[str]:
    """What a machine asks its store for in so many seconds."""
    run = submitted(there, "quiet")
    there.said(run, "quiet", "here")
    time.sleep(10)  # what belongs to the start is over
    before = max(call["number"] for call in there.aws.events())
    time.sleep(seconds)
    calls = there.aws.events(before)
    there.project.dstack("stop", "-y", run)
    there.finished(run)
    return Counter(call["action"] for call in calls if call["machine"] and call["service"] == "s3")


def main() -> int:
    chosen = options(__doc__, rounds=(3, 9, "rounds"), seconds=(30, 300, "seconds of counting requests"))
    report = Report()
    with scratch() as folder, tempfile.TemporaryDirectory() as other, remote(Path(other)) as there:
        del folder
        packing = timed(lambda: first_line(there))
        seen, booted = [], []
        for _ in range(chosen.rounds):
            booted.append(boot(there))
            seen.append(first_line(there))
        beyond = statistics.median(seen) - statistics.median(booted)
        note = f"({statistics.median(seen):.1f} s, of which {statistics.median(booted):.1f} s to boot; "
        note += f"the very first, with packing: {packing:.1f} s)"
        report.row("first log line of a run on a new machine, beyond its boot", beyond, FIRST_LINE, unit="s", note=note)
        gaps = [next_job(there) for _ in range(chosen.rounds)]
        report.row("the next job on the same machine", statistics.median(gaps), NEXT_JOB, unit="s")
        counted = requests(there, chosen.seconds)
        an_hour = sum(counted.values()) * HOUR / chosen.seconds
        kinds = ", ".join(f"{count * HOUR / chosen.seconds:,.0f} {name}" for name, count in counted.most_common())
        report.row("requests of a machine to its store in an hour", an_hour, REQUESTS, unit="", note=kinds)
    return report.code


if __name__ == "__main__":
    sys.exit(main())
