"""The emulated AWS keeps its word: instances are machines that live, run what they are given, and end."""

from __future__ import annotations

from aws_box import Account, aws, aws_box

__all__ = ["aws", "aws_box"]


def test_an_instance_runs_its_user_data_and_ends_with_its_own_shutdown(aws: Account):
    instance = aws.launch("#!/bin/bash\necho hello from $(id -un) at $AWS_ENDPOINT_URL\nshutdown -h now\n")
    gone = aws.wait_for_state(instance, "terminated")
    assert f"hello from root at {aws.box.address}" in aws.console(instance)
    assert gone["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
