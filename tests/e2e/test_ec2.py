"""Pipelines in an account of AWS: machines of EC2 come and go by themselves, and the account is empty in the end."""

from __future__ import annotations

import json
import os
import signal
import urllib.request

from aws_box import aws, aws_box
from dstack_aws import policies
from dstack_aws.policies import Scope
from ec2_remote import Ec2Remote, ec2
from elsewhere import IMAGE, PIPELINE, limits
from iam_policy import allowed, needed

from dstack_core._ledger.identity import store_id

__all__ = ["aws", "aws_box", "ec2", "limits"]

SLOW = f"""
- name: slow
  provider: bash
  image: {IMAGE}
  commands: ["echo here", "sleep 600"]
"""

CHECKPOINTS = f"""
- name: steps
  provider: bash
  image: {IMAGE}
  commands: ["test ! -e state/first || {{ echo resumed; exit 0; }}", "echo 1 > state/first", "echo here", "sleep 600"]
  artifacts: [{{path: state/, mount: true}}]
  resources: {{interruptible: true}}
"""


def test_a_pipeline_of_two_machines_finishes_with_nobody_looking(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    run = ec2.submit("train")
    view = ec2.finished(run)
    assert dict(view.progress.status) == {"data": "done", "train": "done"}
    assert ec2.log(run, "train") == "1000\n"
    ec2.wait_for(lambda: {m.status for m in ec2.machines(run)} == {"gone"}, "machines to leave")
    assert [machine.offer.name for machine in ec2.machines(run)] == ["t3.small", "r5.large"]
    launched = [call for call in ec2.aws.events() if call["action"] == "RunInstances"]
    assert [call["machine"] for call in launched] == [False, True]  # the second by the first
    assert "1000" in ec2.project.dstack("logs", run).out
    calls = ec2.since_setup()
    assert needed(call for call in calls if call["machine"]) <= allowed(policies.machine(Scope()))
    assert needed(call for call in calls if not call["machine"]) <= allowed(policies.use(Scope()))
    expected = [call["parameters"].get("ExpectedBucketOwner") for call in calls if call["service"] == "s3"]
    assert set(expected) == {ec2.aws.id}, "of every request, links that machines were given included"


def test_machines_that_may_launch_none_leave_it_to_commands(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    ec2.write_config(ec2.settings, lease="60s", machines_launch="false")
    run = ec2.submit("train")
    ec2.wait_for(lambda: {m.status for m in ec2.machines(run)} == {"gone"}, "the first machine to leave")
    assert dict(ec2.view(run).progress.status) == {"data": "done", "train": "submitted"}
    ec2.project.dstack("ps")
    assert ec2.finished(run).run.status == "done"
    calls = ec2.since_setup()
    assert [call["machine"] for call in calls if call["action"] == "RunInstances"] == [False, False]
    own = policies.machine(Scope(launches=False))
    assert needed(call for call in calls if call["machine"]) <= allowed(own)
    printed = json.loads(ec2.project.dstack("config", "--print-policy").out)
    assert printed["machine"] == policies.machine(Scope(ec2.bucket, launches=False))
    refused = ec2.project.dstack("config", "--print-policy", "local", expect=65)
    assert "the backend local of local knows of no policies" in refused.err


def test_a_command_that_is_killed_while_it_launches_leaves_a_machine_that_does_the_work(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    held = ec2.aws.fault("RunInstances", hold="after")
    command = ec2.project.start("run", "-r", "-d", "data")
    ec2.wait_for(lambda: ec2.aws.met(held), "the launch")
    command.kill()
    command.wait()
    ec2.aws.lift(held)
    (run,) = {info.key.split("/")[1] for info in ec2.store.list("machines/")}
    assert ec2.machines(run)[0].handle is None
    assert ec2.finished(run).run.status == "done"
    assert len(ec2.instances()) == 1


def test_no_capacity_anywhere_is_one_error(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    ec2.aws.fault("RunInstances", "InsufficientInstanceCapacity", count=-1)
    done = ec2.project.dstack("run", "-r", "data", expect=75)
    assert done.err.count("no machine can be had") == 1
    assert "no such machine is to be had in us-east-1a now (InsufficientInstanceCapacity)" in done.err
    assert "Traceback" not in done.err


def test_the_next_zone_is_taken_when_one_has_no_capacity(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    zone = {"Placement.AvailabilityZone": "us-east-1a"}
    ec2.aws.fault("RunInstances", "InsufficientInstanceCapacity", match=zone, count=-1)
    run = ec2.submit("data")
    assert ec2.finished(run).run.status == "done"
    assert [instance["Placement"]["AvailabilityZone"] for instance in ec2.instances()] == ["us-east-1b"]


def test_wrong_credentials_are_one_error(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    ec2.project.env["AWS_ACCESS_KEY_ID"] = "AKIAIOSFODNN7EXAMPLE"
    done = ec2.project.dstack("run", "-r", "data", expect=77)
    assert done.err.count("does not accept these credentials") == 1


def test_a_bucket_of_another_account_is_one_error(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    ec2.write_config({**ec2.settings, "s3": {"bucket": ec2.bucket, "expected_bucket_owner": "111122223333"}})
    done = ec2.project.dstack("run", "-r", "data", expect=77)
    assert done.err.count("the bucket is not of the account 111122223333, or you may not do this") == 1
    assert done.err.count("error:") == 1
    assert not list(ec2.store.list("")), "nothing is written to somebody else's bucket"


def test_a_key_that_may_not_be_used_is_one_error(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    key = "arn:aws:kms:us-east-1:111122223333:key/0000"
    said = f"User: ann is not authorized to perform: kms:GenerateDataKey on resource: {key} because no policy allows it"
    ec2.aws.fault("PutObject", "AccessDenied", message=said, count=-1)
    done = ec2.project.dstack("run", "-r", "data", expect=77)
    assert done.err.count(f"the right kms:GenerateDataKey on the key {key} is missing") == 1
    assert done.err.count("error:") == 1
    assert not ec2.instances()


def test_a_wrong_region_is_one_error(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    ec2.write_config({**ec2.settings, "ec2": {**ec2.settings["ec2"], "regions": "us-east-11"}})
    done = ec2.project.dstack("run", "-r", "data", expect=65)
    assert done.err.count("AWS has no region us-east-11") == 1
    assert not list(ec2.store.list("runs/"))


def test_a_plan_shows_prices_and_why_others_were_rejected(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE)
    out = ec2.project.dstack("plan", "-r", "train").out
    assert out[out.index("\ndata:") :].splitlines()[1:] == [
        "data: t3.small in us-east-1a at 0.03176 USD per hour",
        "",
        "train: r5.large in us-east-1a at 0.137 USD per hour",
        "  not t3.small: has 2.147 GB of memory, needs 8 GB",
    ]


SERVE = f"""
- name: serve
  provider: bash
  image: {IMAGE}
  ports: {{web: 8124}}
  commands: ["echo hello > index.html", "exec httpd -f -p $DSTACK_HOST:$PORT_0"]
"""


def test_a_port_is_reached_by_who_submitted_alone_while_somebody_looks(ec2: Ec2Remote):
    """By a rule for one address and one port, which goes with the command, or after it was killed with a sweep."""
    ec2.project.workflows(SERVE)
    following = ec2.project.start("run", "-r", "serve")
    said = iter(following.stderr)
    url = next(line for line in said if "answers at" in line).split()[-1]
    assert urllib.request.urlopen(url).read() == b"hello\n"
    (run,) = ec2.runs()
    client = ec2.aws.client("ec2")

    def rules() -> list[tuple[str, int]]:
        found = client.describe_security_group_rules(Filters=[{"Name": "tag:dstack:run", "Values": [run]}])
        return [(rule["CidrIpv4"], rule["FromPort"] - rule["ToPort"]) for rule in found["SecurityGroupRules"]]

    assert rules() == [("127.0.0.1/32", 0)]
    following.kill()
    following.wait()
    opening = ec2.project.start("open", "--no-browser", run)
    url = opening.stdout.readline().removeprefix("web: ").strip()
    assert urllib.request.urlopen(url).read() == b"hello\n"
    opening.send_signal(signal.SIGINT)
    ec2.project.end(opening)
    assert rules() == [("127.0.0.1/32", 0)], "that of the command which was killed"
    calls = ec2.since_setup()
    assert needed(call for call in calls if call["machine"]) <= allowed(policies.machine(Scope()))
    own = [call for call in calls if not call["machine"] and call["action"] != "DescribeSecurityGroupRules"]
    assert needed(own) <= allowed(policies.use(Scope()))
    ec2.project.dstack("stop", "--abort", "-y", run)
    ec2.wait_for(lambda: {m.status for m in ec2.machines(run)} == {"gone"}, "the machine to leave")
    ec2.project.dstack("machines")
    (looks,) = (ec2.project.home / "looks").iterdir()
    looks.write_text(json.dumps({name: when - 60 for name, when in json.loads(looks.read_text()).items()}))
    assert "Ended the rule sg-" in ec2.project.dstack("machines", "--sweep").out
    assert rules() == []


def test_machines_are_told_and_what_was_left_behind_is_ended(ec2: Ec2Remote):
    ec2.project.workflows(PIPELINE + SLOW)
    run = ec2.submit("slow")
    ec2.said(run, "slow", "here")
    labels = {"dstack:machine": "7-lost", "dstack:run": run, "dstack:store": store_id(ec2.store)}
    tags = [{"Key": key, "Value": value} for key, value in labels.items()]
    lost = ec2.aws.launch(TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    found = json.loads(ec2.project.dstack("machines", "--json").out)["machines"]
    assert [(row["run"], row["type"], row["status"]) for row in found] == [
        (run, "t3.small", "up"),
        (run, f"machine {lost}", "left behind"),
    ]
    assert found[0]["price"] > 0.02
    assert 0 < found[0]["cost"] < 0.01
    first = json.loads(ec2.project.dstack("machines", "--sweep", "--json").out)
    assert first["ended"] == [], "seen for a moment only"
    (looks,) = (ec2.project.home / "looks").iterdir()
    looks.write_text(json.dumps({name: when - 60 for name, when in json.loads(looks.read_text()).items()}))
    swept = ec2.project.dstack("machines", "--sweep")
    assert f"Ended the machine {lost}." in swept.out
    ec2.aws.wait_for_state(lost, "terminated")
    # What nobody asks for is done in passing, ten minutes later.
    another = ec2.aws.launch(TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
    ec2.project.dstack("machines")
    looks.write_text(json.dumps({name: when - 600 for name, when in json.loads(looks.read_text()).items()}))
    assert ec2.project.dstack("ps").err == "", "not again so soon"
    os.utime(looks, (0, 0))
    assert f"ended the machine {another}, which was left behind" in ec2.project.dstack("ps").err
    ec2.aws.wait_for_state(another, "terminated")
    assert ec2.job(run, "slow").status == "running", "it has a record"
    ec2.project.dstack("stop", "-y", run)
    assert ec2.finished(run).run.status == "stopped"


def test_a_spot_machine_that_is_taken_away_is_followed_by_another(ec2: Ec2Remote):
    ec2.project.workflows(CHECKPOINTS)
    ec2.aws.set_price("t3.small", 0.006)
    run = ec2.submit("steps")
    machine = ec2.said(run, "steps", "here")
    assert machine.offer.spot
    (instance,) = ec2.instances()
    assert instance["InstanceLifecycle"] == "spot"
    ec2.aws.warn(instance["InstanceId"], 30)
    view = ec2.finished(run)
    assert view.run.status == "done"
    assert [attempt.status for attempt in ec2.job(run, "steps").attempts] == ["interrupted", "done"]
    assert ec2.log(run, "steps", 2) == "resumed\n"
    assert len(ec2.instances()) == 2
