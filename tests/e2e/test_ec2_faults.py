"""What goes wrong while a machine of EC2 is asked for: no machine is left, and no run waits for one that is not."""

from __future__ import annotations

from aws_box import aws, aws_box
from ec2_remote import Ec2Remote, ec2
from elsewhere import PIPELINE, limits

__all__ = ["aws", "aws_box", "ec2", "limits"]


def test_a_machine_that_comes_up_although_its_launch_failed_ends_itself(ec2: Ec2Remote):
    """AWS says that it failed, and nobody sees the machine until it is there."""
    ec2.project.workflows(PIPELINE)
    ec2.write_config({**ec2.settings, "ec2": {**ec2.settings["ec2"], "patience": 1}}, lease="45s")
    fault = ec2.aws.fault("RunInstances", "InternalError", effect=True, hidden=6, count=-1)
    done = ec2.project.dstack("run", "-r", "-d", "data", expect=74)
    assert done.err.count("error:") == 1
    assert "cannot start a machine" in done.err
    assert ec2.aws.lift(fault) > 1, "it was tried again, as the same machine"
    run = ec2.runs()[0]
    assert [machine.status for machine in ec2.machines(run)] == ["gone"]
    ec2.wait_for(lambda: [one["State"]["Name"] for one in ec2.instances()] == ["terminated"], "it to end itself")
    assert ec2.job_count(run) == 0, "it claimed nothing"
    ec2.project.dstack("stop", "-y", run)
    assert ec2.view(run).run.status == "stopped"


def test_machines_whose_role_may_not_use_the_buckets_key_say_so(ec2: Ec2Remote):
    """Who submits may; so what machines leave comes to the store by a link of theirs."""
    ec2.project.workflows(PIPELINE)
    key = "arn:aws:kms:us-east-1:111122223333:key/0000"
    said = f"User: role is not authorized to perform: kms:Decrypt on resource: {key} because no policy allows it"
    ec2.aws.fault("GetObject", "AccessDenied", message=said, caller="*:assumed-role/*", count=-1)
    done = ec2.project.dstack("run", "-r", "data", expect=1)
    assert done.err.count(f"the right kms:Decrypt on the key {key} is missing") == 1
    assert "Traceback" not in done.err


def test_a_run_that_is_stopped_while_its_machine_is_asked_for(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    held = ec2.aws.fault("RunInstances", hold="before")
    command = ec2.project.start("run", "-r", "-d", "data")
    ec2.wait_for(lambda: ec2.aws.met(held), "the launch")
    run = ec2.runs()[0]
    ec2.project.dstack("stop", "-y", run)
    assert ec2.view(run).run.status == "stopped"
    ec2.aws.lift(held)
    ec2.project.end(command, expect=None)
    ec2.wait_for(lambda: [one["State"]["Name"] for one in ec2.instances()] == ["terminated"], "the machine to leave")
    assert ec2.job_count(run) == 1, "that it was stopped, and no attempt"
    assert ec2.job(run, "data").attempts == ()
