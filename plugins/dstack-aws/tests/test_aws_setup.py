"""`dstack aws`: what is made in an account, from whatever state it is in; and policies against calls that are made."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aws_box import Account
from click.testing import CliRunner, Result
from dstack_aws import policies
from dstack_aws.account_setup import Setup, make_group
from dstack_aws.command import aws as command
from dstack_aws.ec2_backend import Ec2Backend, account_of
from dstack_aws.ec2_region import Region
from dstack_aws.policies import Scope
from dstack_aws.s3_store import S3Store
from dstack_aws.secrets_store import SecretsManagerStore
from ec2_settings import settings_of
from iam_policy import allowed, needed

from dstack_core.errors import CredentialsError, DstackError, InputError, NotFoundError
from dstack_core.models import Launch, Requirements

STEPS = ["CreateRole", "PutRolePolicy", "CreateInstanceProfile", "GetInstanceProfile", "AddRoleToInstanceProfile"]
IMPLIED = {"iam:PassRole", "ec2:CreateTags", "iam:CreateServiceLinkedRole"}
"""What other calls need besides their own action."""
OTHERS = {
    **policies.TRUST,
    "Statement": [{**policies.TRUST["Statement"][0], "Principal": {"Service": "x.amazonaws.com"}}],
}
"""A role that somebody else may be."""
THE_TESTS_OWN = {"CreateVolume", "AllocateAddress"}
LARGE = b"x" * (17 << 20)
"""In several parts."""
Dstack = Callable[..., Result]


@pytest.fixture(autouse=True)
def environ(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def dstack(home: Path, aws: Account) -> Dstack:
    """`dstack aws`, with a bucket in the config."""
    remote = {"backend": "ec2", "artifact_store": "s3", "settings": {"s3": {"bucket": "our-runs", "prefix": "team"}}}
    (home / "config.yaml").write_text(json.dumps({"remotes": {"aws": remote}}))
    return lambda *words: CliRunner().invoke(command, list(words))


def state(aws: Account, name: str = "dstack") -> tuple[Any, ...]:
    """What there is of that name: whom the role trusts, its policy, the profile's roles."""
    iam = aws.client("iam")
    role = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    policy = iam.get_role_policy(RoleName=name, PolicyName="dstack")["PolicyDocument"]
    roles = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
    return role, policy, [one["RoleName"] for one in roles]


def test_setup_makes_all_that_machines_need_and_stays(aws, dstack):
    first = dstack("setup")
    assert first.output.splitlines() == [
        "role dstack: made",
        "its policy: may use the bucket our-runs, and launch machines like itself",
        "instance profile dstack: made",
        "security group dstack in us-east-1: made",
    ]
    scope = Scope("our-runs", "team")
    assert state(aws) == (policies.TRUST, policies.machine(scope), ["dstack"])
    groups = aws.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["dstack"]}])
    (group,) = groups["SecurityGroups"]
    assert group["IpPermissions"] == []
    again = dstack("setup").output
    assert again.count("is there") == 3
    assert "made" not in again
    assert state(aws) == (policies.TRUST, policies.machine(scope), ["dstack"])


def test_the_only_remote_beside_this_machine_is_meant(dstack, home):
    config = json.loads((home / "config.yaml").read_text())
    (home / "config.yaml").write_text(json.dumps({"remotes": {"local": {"executor": "process"}, **config["remotes"]}}))
    assert "may use the bucket our-runs" in dstack("setup").output
    config["remotes"]["other"] = {"backend": "ec2"}
    (home / "config.yaml").write_text(json.dumps(config))
    done = dstack("setup")
    assert isinstance(done.exception, InputError)
    assert "which remote? There are aws, other" in str(done.exception)
    assert isinstance(dstack("setup", "-r", "awz").exception, NotFoundError)


def test_machines_that_may_launch_none_have_no_right_to(aws, dstack, home):
    config = json.loads((home / "config.yaml").read_text())
    config["remotes"]["aws"]["machines_launch"] = "false"
    (home / "config.yaml").write_text(json.dumps(config))
    assert "its policy: may use the bucket our-runs, and launch no machines" in dstack("setup").output
    actions = allowed(state(aws)[1])
    assert {one for one in actions if one.startswith(("ec2:", "iam:", "ssm:"))} == {
        "ec2:DescribeInstances",
        "ec2:TerminateInstances",
    }
    printed = Ec2Backend({}).policies("aws")
    assert printed["machine"] == state(aws)[1]
    assert "ec2:RunInstances" in allowed(printed["use"])
    dstack("setup")
    assert allowed(state(aws)[1]) == actions
    config["remotes"]["aws"]["machines_launch"] = "true"
    (home / "config.yaml").write_text(json.dumps(config))
    dstack("setup")
    assert "ec2:RunInstances" in allowed(state(aws)[1])


def test_a_group_that_lets_something_in_is_told(aws, dstack):
    dstack("setup")
    groups = aws.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["dstack"]}])
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    aws.client("ec2").authorize_security_group_ingress(
        GroupId=groups["SecurityGroups"][0]["GroupId"], IpPermissions=[rule]
    )
    assert "warning: the security group dstack (sg-" in dstack("setup").output


def test_setup_converges_wherever_it_was_cut_short(aws):
    account = account_of(settings_of(aws))
    for step in STEPS:
        for effect in (False, True):
            scope = Scope("our-runs", profile=f"dstack-{uuid.uuid4().hex[:8]}")
            fault = aws.fault(step, "AccessDenied", effect=effect)
            with pytest.raises(DstackError):
                list(Setup(account, scope, 5).role())
            assert aws.lift(fault) == 1
            list(Setup(account, scope, 5).role())
            assert state(aws, scope.profile) == (policies.TRUST, policies.machine(scope), [scope.profile])


@pytest.mark.parametrize("effect", [False, True])
def test_the_group_is_made_wherever_it_was_cut_short(aws, effect):
    region = Region(account_of(settings_of(aws)), "us-east-1", 5)
    for step in ("DescribeVpcs", "CreateSecurityGroup", "DescribeSecurityGroups"):
        fault = aws.fault(step, "UnauthorizedOperation", effect=effect)
        with pytest.raises(DstackError):
            list(make_group(region, "ours", None))
        assert aws.lift(fault) == 1
    (line,) = make_group(region, "ours", None)
    assert line == "security group ours in us-east-1: is there"
    found = aws.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["ours"]}])
    assert len(found["SecurityGroups"]) == 1


def test_a_role_that_trusts_somebody_else_is_mended(aws):
    aws.client("iam").create_role(RoleName="dstack", AssumeRolePolicyDocument=json.dumps(OTHERS))
    list(Setup(account_of(settings_of(aws)), Scope(), 5).role())
    assert state(aws)[0] == policies.TRUST


def test_several_who_set_up_at_once_come_to_one_end(aws):
    account = account_of(settings_of(aws))
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: list(Setup(account, Scope(), 10).role()), range(6)))
    assert len(done) == 6
    assert state(aws)[2] == ["dstack"]


def test_a_profile_with_another_role_is_somebody_elses(aws):
    iam = aws.client("iam")
    iam.create_role(RoleName="other", AssumeRolePolicyDocument=json.dumps(policies.TRUST))
    iam.create_instance_profile(InstanceProfileName="dstack")
    iam.add_role_to_instance_profile(InstanceProfileName="dstack", RoleName="other")
    with pytest.raises(InputError, match="the instance profile dstack has another role: other"):
        list(Setup(account_of(settings_of(aws)), Scope(), 5).role())


def test_without_a_bucket_there_is_nothing_to_allow(home, aws):
    done = CliRunner().invoke(command, ["setup"])
    assert isinstance(done.exception, InputError)
    assert done.exception.hint == "dstack config set settings.s3.bucket NAME"


@pytest.mark.parametrize("what", ["setup", "use", "machine"])
def test_policies_are_printed(dstack, what):
    printed = json.loads(dstack("policy", what).output)
    assert printed == getattr(policies, what)(Scope("our-runs", "team"))
    assert len(json.dumps(printed, separators=(",", ":"))) < 6144, "a managed policy may have so many characters"
    wide = [one["Sid"] for one in printed["Statement"] if one["Resource"] == "*" and "Condition" not in one]
    listing = ("Look", "FindLeftovers", "ListSecrets", "Group")
    assert set(wide) <= set(listing), "only what lists goes without a resource and a condition"


def test_setup_calls_what_its_policy_allows_and_nothing_else(aws, dstack, monkeypatch):
    aws.client("iam").create_role(RoleName="dstack", AssumeRolePolicyDocument=json.dumps(OTHERS))
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    before = max(call["number"] for call in aws.events())
    dstack("setup")
    monkeypatch.setenv("DSTACK_EC2_SUBNET", subnet)
    dstack("setup")
    implied = {"iam:PassRole", "ec2:CreateTags"}
    assert needed(aws.events(before)) | implied == allowed(policies.setup(Scope()))


def test_use_calls_what_its_policy_allows_and_nothing_else(aws, dstack):
    bucket = f"dstack-{aws.id}"
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.image(parameter="/aws/service/box/plain")
    client = aws.client("ec2")
    subnet = next(one for one in client.describe_subnets()["Subnets"] if one["AvailabilityZone"] == "us-east-1a")
    before = max(call["number"] for call in aws.events())
    _use_the_store(S3Store({"bucket": bucket}), aws)
    _use_secrets(SecretsManagerStore({}), aws)
    place = {"subnet": subnet["SubnetId"], "security_group": "default"}
    _use_machines(Ec2Backend(settings_of(aws, ami="/aws/service/box/plain", **place)), aws)
    called = [call for call in aws.events(before) if call["action"] not in THE_TESTS_OWN]
    assert needed(called) | IMPLIED == allowed(policies.use(Scope()))
    assert needed(called) | IMPLIED >= allowed(policies.machine(Scope()))


def _use_the_store(store: S3Store, aws: Account) -> None:
    version = store.write("a/key", b"x")
    store.write("a/large", LARGE)
    aws.fault("CompleteMultipartUpload", "AccessDenied")
    with pytest.raises(CredentialsError):
        store.write("a/other", LARGE)
    assert [info.key for info in store.list("a/")] == ["a/key", "a/large"]
    assert store.read("a/key").data == b"x"
    assert store.exists("a/key")
    store.delete("a/key", version)


def _use_secrets(store: SecretsManagerStore, aws: Account) -> None:
    for value in ("old", "new"):
        store.put("ann/digits", "NAME", value)
    assert (store.get("ann/digits", "NAME"), list(store.list("ann/digits"))) == ("new", ["NAME"])
    full = "dstack/ann/digits/NAME"
    aws.client("secretsmanager").delete_secret(SecretId=full, RecoveryWindowInDays=7)
    store.put("ann/digits", "NAME", "again")
    store.delete("ann/digits", "NAME")


def _use_machines(backend: Ec2Backend, aws: Account) -> None:
    offer = backend.offers(Requirements(interruptible=True)).fitting[0]
    launch = Launch(f"1-{uuid.uuid4().hex}", "x-1", ("sleep", "600"), store="store-1")
    backend.launch(replace(offer, spot=True), launch)
    assert backend.state(launch.machine, None) in ("starting", "up")
    tags = [{"Key": "dstack:machine", "Value": "9-lost"}]
    client = aws.client("ec2")
    client.create_volume(
        AvailabilityZone="us-east-1a", Size=8, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    client.allocate_address(TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
    group = client.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    label = [{"ResourceType": "security-group-rule", "Tags": tags}]
    permission = {"IpProtocol": "tcp", "FromPort": 7, "ToPort": 7, "IpRanges": [{"CidrIp": "198.51.100.7/32"}]}
    client.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission], TagSpecifications=label)
    aws.wait_for(lambda: backend.state(launch.machine, None) == "up", "the machine")
    with backend.reach(launch.machine, None, 2222) as address:
        assert address.host.startswith("127.")
    found = backend.leftovers()
    assert {one.kind for one in found} == {"machine", "disk", "address", "request", "rule"}
    for one in found:
        backend.end(one)
    aws.wait_for(lambda: not backend.leftovers(), "the end of all")
