"""Jobs that ask for a GPU on machines of EC2. The machines have none: their engine is asked for it all the same."""

from __future__ import annotations

import pytest
from aws_box import aws, aws_box
from docker_archives import keep_archive
from docker_images import shell_files
from ec2_remote import TYPES, Ec2Remote, ec2
from elsewhere import IMAGE, limits

__all__ = ["aws", "aws_box", "ec2", "limits"]
JOBS = f"""
- name: train
  provider: bash
  image: {IMAGE}
  commands: ['echo "GPUs: $NVIDIA_VISIBLE_DEVICES"']
  resources: {{gpu: {{name: A10G, count: 1}}}}
"""


@pytest.fixture
def with_gpus(ec2: Ec2Remote):
    """Adds a type with a GPU, and an image for it; its id."""

    def add(*, nvidia: bool) -> str:
        archive = keep_archive(ec2.aws.box.images, IMAGE, shell_files())
        image = ec2.aws.image("gpus", images=(archive,), nvidia=nvidia)
        more = {"gpu_ami": image, "instance_types": [*TYPES, "g5.xlarge"]}
        ec2.write_config({**ec2.settings, "ec2": {**ec2.settings["ec2"], **more}}, lease="60s")
        ec2.project.workflows(JOBS)
        return image

    return add


def test_a_job_with_a_gpu_gets_a_machine_and_a_container_with_it(ec2: Ec2Remote, with_gpus):
    image = with_gpus(nvidia=True)
    assert "train: g5.xlarge in us-east-1a at " in ec2.project.dstack("plan", "-r", "train").out
    run = ec2.submit("train")
    assert ec2.finished(run).run.status == "done"
    assert ec2.log(run, "train") == "GPUs: 0\n"
    (instance,) = ec2.instances()
    assert (instance["InstanceType"], instance["ImageId"]) == ("g5.xlarge", image)


def test_a_machine_without_nvidias_runtime_says_so_once(ec2: Ec2Remote, with_gpus):
    with_gpus(nvidia=False)
    done = ec2.project.dstack("run", "-r", "train", expect=1)
    assert done.err.count("the Docker engine cannot give a container GPUs") == 1
    assert "Traceback" not in done.err + done.out
    (run,) = ec2.runs()
    assert [attempt.status for attempt in ec2.job(run, "train").attempts] == ["failed"], "another would say the same"
