"""What machines are not sent of the SDK is what they never need."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

import botocore.session
import dstack_aws
from botocore.loaders import Loader
from dstack_aws.machine_files import SERVICES, unneeded

DATA = Path(botocore.__file__).parent / "data"
SOURCES = Path(dstack_aws.__file__).parent
NEVER_THERE = {"account_setup.py", "suggesting.py"}
"""Modules of commands, which are given on nobody's machines."""


def files() -> list[str]:
    """Of the SDK, as it is installed."""
    return [path.as_posix() for path in distribution("botocore").files or ()]


def called() -> set[str]:
    """Services that are named where clients are made."""
    texts = [path.read_text() for path in SOURCES.glob("*.py") if path.name not in NEVER_THERE]
    return {name for text in texts for name in re.findall(r"\b_?(?:client|calls)\(\s*\"([a-z0-9-]+)\"", text)}


def test_most_of_it_stays_at_home():
    """But no code, and nothing of anybody else's."""
    spared = [path for path in files() if unneeded("botocore", path)]
    assert len(spared) > len(files()) / 2
    assert all(path.startswith("botocore/data/") and not path.endswith(".py") for path in spared)
    assert not any(unneeded("another", path) for path in files())


def test_what_is_called_works_with_what_is_left(tmp_path):
    """Each service with all of its operations, and what is asked for credentials."""
    for path in files():
        if path.startswith("botocore/data/") and not unneeded("botocore", path):
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DATA.parents[1] / path, target)
    left = Loader([str(tmp_path / "botocore" / "data")], include_default_search_paths=False)
    session = botocore.session.Session()
    session.register_component("data_loader", left)
    assert called() >= {"ec2", "pricing", "s3", "secretsmanager", "service-quotas", "ssm"}
    assert called() <= SERVICES
    for service in SERVICES:
        client = session.create_client(
            service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        assert client.meta.service_model.operation_names
    assert "eu-west-1" in session.get_available_regions("ec2")
