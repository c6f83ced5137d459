"""A project whose remote `aws` has machines of EC2 and a store in a bucket, all in one account of the emulated AWS.

Commands have the keys of its user; machines have none, but their role.
"""

from __future__ import annotations

import json
from typing import Any

import cloud_image
import pytest
from aws_box import Account
from docker_archives import keep_archive
from docker_images import shell_files
from dstack_aws.s3_store import S3Store
from elsewhere import IMAGE, Elsewhere

TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
]}  # fmt: skip
TYPES = ["t3.small", "r5.large"]


class Ec2Remote(Elsewhere):
    """What a test does with the project, the account, and what the store has."""

    def __init__(self, project: Any, aws: Account, limits: dict[str, str]) -> None:
        self.project = project
        self.aws = aws
        self.bucket = f"dstack-{aws.id}"  # the emulator's buckets are of no account
        aws.client("s3").create_bucket(Bucket=self.bucket)
        s3 = {"bucket": self.bucket, "expected_bucket_owner": aws.id}
        self.store = S3Store(s3)
        image = aws.image(images=(keep_archive(aws.box.images, IMAGE, shell_files()),))
        self._set_up()
        ec2 = {"ami": image, "instance_types": TYPES, "security_group": "", "ssh_from": "127.0.0.1"}
        self.write_config({"s3": s3, "ec2": ec2}, **limits)
        kept = {k: v for k, v in project.env.items() if not k.startswith("AWS_")}
        # No engine: the machine on which a command is given need not have one.
        project.env = {**kept, **aws.environ, "DOCKER_HOST": f"unix://{project.folder}/none"}
        bundles = cloud_image.cache() / "bundles"
        bundles.mkdir(exist_ok=True)
        (project.home / "cache" / "bundles").symlink_to(bundles)
        self._set_up_by = max(call["number"] for call in aws.events())

    def write_config(self, settings: dict[str, Any], **limits: str) -> None:
        """Make the remote have these settings."""
        self.settings = settings
        remote = {"backend": "ec2", "artifact_store": "s3", "settings": settings, **limits}
        (self.project.home / "config.yaml").write_text(json.dumps({"remotes": {"aws": remote}}))

    def since_setup(self) -> list[dict[str, Any]]:
        """Calls of dstack, here and on machines."""
        return self.aws.events(self._set_up_by)

    def instances(self) -> list[dict[str, Any]]:
        """All that there ever were."""
        found = self.aws.client("ec2").describe_instances()["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def _set_up(self) -> None:
        iam = self.aws.client("iam")
        iam.create_role(RoleName="dstack", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.create_instance_profile(InstanceProfileName="dstack")
        iam.add_role_to_instance_profile(InstanceProfileName="dstack", RoleName="dstack")


@pytest.fixture
def ec2(project: Any, aws: Account, limits: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ec2Remote:
    """The project."""
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    return Ec2Remote(project, aws, limits)
