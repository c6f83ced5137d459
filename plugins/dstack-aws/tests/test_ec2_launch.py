"""What the backend `ec2` asks for when it launches, and what becomes of it when AWS does not do as asked."""

from __future__ import annotations

import ast
import inspect
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest
from aws_box import Account
from dstack_aws import ec2_notice
from dstack_aws.ec2_backend import Ec2Backend
from ec2_settings import settings_of

from dstack_core.backend import SupportsLeftovers, SupportsNotice
from dstack_core.errors import CapacityError, CredentialsError, DstackError, InputError
from dstack_core.models import Gpu, Launch, Offer

OFFER = Offer("ec2", "t3.small", 2, 2 << 30, region="us-east-1", zone="us-east-1b", price=0.03, disk=120 * 10**9)
NO_PROFILE = "Value (dstack) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
ARGV = ("python3", "-c", "import time; time.sleep(600)")


@pytest.fixture(autouse=True)
def environ(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DSTACK_USER", "ann")


@pytest.fixture
def backend(aws: Account) -> Ec2Backend:
    return Ec2Backend(settings_of(aws))


@pytest.fixture
def launch() -> Launch:
    return Launch(f"1-{uuid.uuid4().hex[:16]}", "grumpy-zebra-1", ARGV, store="store-1")


def labels(about: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in about["Tags"]}


def refusal(backend: Ec2Backend, launch: Launch, offer: Offer = OFFER) -> DstackError:
    with pytest.raises(DstackError) as caught:
        backend.launch(offer, launch)
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    return caught.value


def test_all_is_in_the_call_that_makes_the_machine(aws, backend, launch, monkeypatch):
    monkeypatch.setenv("DSTACK_USER", "Ann O'Neil")  # which AWS does not take
    handle = backend.launch(replace(OFFER, spot=True), launch)
    (call,) = [one for one in aws.events() if one["action"] == "RunInstances"]
    asked = call["parameters"]
    assert asked["ClientToken"] == launch.machine
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert asked["Placement.AvailabilityZone"] == "us-east-1b"
    assert (asked["MetadataOptions.HttpTokens"], asked["MetadataOptions.HttpPutResponseHopLimit"]) == ("required", "1")
    disk = {key.removeprefix("BlockDeviceMapping.1.Ebs."): value for key, value in asked.items() if ".Ebs." in key}
    assert disk == {"VolumeSize": "112", "VolumeType": "gp3", "Encrypted": "true", "DeleteOnTermination": "true"}
    once = {key.rpartition(".")[2]: value for key, value in asked.items() if "SpotOptions" in key}
    assert once == {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    kinds = {value for key, value in asked.items() if key.endswith(".ResourceType")}
    assert kinds == {"instance", "volume", "network-interface", "spot-instances-request"}

    (instance,) = aws.client("ec2").describe_instances()["Reservations"][0]["Instances"]
    assert handle.split("/")[:2] == ["us-east-1", instance["InstanceId"]]
    assert labels(instance) == {
        "Name": "dstack grumpy-zebra-1", "dstack:machine": launch.machine, "dstack:run": "grumpy-zebra-1",
        "dstack:user": "Ann O_Neil", "dstack:store": "store-1",
    }  # fmt: skip
    (volume,) = aws.client("ec2").describe_volumes()["Volumes"]
    assert labels(volume)["dstack:machine"] == launch.machine
    (request,) = aws.client("ec2").describe_spot_instance_requests()["SpotInstanceRequests"]
    assert labels(request)["dstack:machine"] == launch.machine
    assert not [one for one in aws.events() if one["action"] == "CreateTags"]
    backend.terminate(launch.machine, handle)


def test_the_machine_knows_our_region_and_who_we_are(aws, backend, launch):
    backend.launch(OFFER, launch)
    instance = aws.client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    aws.wait_for_state(instance, "running")
    found = aws.wait_for(lambda: _environment(aws, instance), "the runner", instance)
    assert (found["AWS_DEFAULT_REGION"], found["DSTACK_USER"]) == ("us-east-1", "ann")
    assert found["AWS_METADATA_SERVICE_NUM_ATTEMPTS"] == "5"
    backend.terminate(launch.machine, None)


def _environment(aws: Account, instance: str) -> dict[str, str]:
    said = aws.run(instance, "sh", "-c", "cat /proc/$(cat /run/dstack/runner)/environ | tr '\\0' '\\n'").out
    found = dict(line.partition("=")[::2] for line in said.splitlines())
    return found if "DSTACK_USER" in found else {}


@pytest.mark.parametrize("fault", [{"lost": True}, {"code": "InternalError", "effect": True}], ids=["lost", "wrong"])
def test_a_lost_answer_gives_the_same_machine(aws, backend, launch, fault):
    aws.fault("RunInstances", **fault)
    handle = backend.launch(OFFER, launch)
    (reservation,) = aws.client("ec2").describe_instances()["Reservations"]
    assert reservation["Instances"][0]["InstanceId"] in handle
    backend.terminate(launch.machine, handle)


@pytest.mark.parametrize(
    "fault", [{"lost": True}, {"code": "RequestLimitExceeded", "count": 3}, {"code": "InternalError", "effect": True}]
)
def test_an_end_whose_answer_is_lost_or_refused_is_asked_for_again(aws, backend, launch, fault):
    handle = backend.launch(OFFER, launch)
    armed = aws.fault("TerminateInstances", **fault)
    backend.terminate(launch.machine, handle)
    assert aws.lift(armed) == fault.get("count", 1)
    aws.wait_for(lambda: backend.state(launch.machine, handle) == "gone", "the end")
    assert launch.machine not in backend.machines()


def test_another_link_in_the_user_data_gives_the_same_machine(backend, launch):
    first = backend.launch(OFFER, launch).split("/")
    again = backend.launch(OFFER, replace(launch, config="another: one")).split("/")
    assert again[:2] == first[:2]
    backend.terminate(launch.machine, "/".join(first))


def test_a_machine_that_cannot_be_seen_yet_is_starting(aws, backend, launch):
    aws.fault("RunInstances", hidden=3)
    handle = backend.launch(OFFER, launch)
    assert backend.state(launch.machine, handle) == "starting"
    backend.terminate(launch.machine, handle)
    aws.wait_for(lambda: backend.state(launch.machine, handle) == "gone", "the end")


def test_a_handle_of_long_ago_that_nobody_knows_is_gone(backend, launch):
    assert backend.state(launch.machine, f"us-east-1/i-0123456789abcdef0/{time.time() - 600:.0f}") == "gone"
    assert backend.state(launch.machine, f"us-east-1/i-0123456789abcdef0/{time.time():.0f}") == "starting"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "InsufficientInstanceCapacity",
            "no such machine is to be had in us-east-1b now (InsufficientInstanceCapacity)",
        ),
        ("Unsupported", "no such machine is to be had in us-east-1b now (Unsupported)"),
        ("VcpuLimitExceeded", "the account's quota of such a machine in us-east-1 is used up (VcpuLimitExceeded: "),
        ("MaxSpotInstanceCountExceeded", "the account's quota of such a machine in us-east-1 is used up"),
    ],
)
def test_no_capacity_is_told_at_once(aws, backend, launch, code, words):
    aws.fault("RunInstances", code)
    error = refusal(backend, launch)
    assert isinstance(error, CapacityError)
    assert error.message.startswith(words)
    assert len([one for one in aws.events() if one["action"] == "RunInstances"]) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ami": "ami-00000000"}, "there is no image ami-00000000 in us-east-1"),
        ({"ami": "/no/such"}, "there is no image /no/such in us-east-1"),
        ({"ami": "amazon/none*"}, "there is no image amazon/none* in us-east-1"),
    ],
)
def test_no_such_image(aws, launch, more, message):
    error = refusal(Ec2Backend(settings_of(aws, **more)), launch)
    assert isinstance(error, InputError)
    assert error.message == message
    assert (error.hint or "").startswith("dstack config set settings.ec2.ami ")


@pytest.mark.parametrize(
    ("more", "code", "said", "message"),
    [
        ({"security_group": "mine"}, "InvalidGroup.NotFound", "no", "there is no security group mine"),
        ({"instance_profile": "mine"}, "InvalidParameterValue", NO_PROFILE, "there is no instance profile mine"),
        ({}, "VPCIdNotSpecified", "No default VPC for this user", "the account has no default network"),
    ],
)
def test_what_is_not_set_up(aws, launch, monkeypatch, more, code, said, message):
    monkeypatch.setattr("dstack_aws.ec2_launching.NEW_PROFILE", 0.1)
    aws.fault("RunInstances", code, message=said, count=-1)
    error = refusal(Ec2Backend(settings_of(aws, **more)), launch)
    assert isinstance(error, InputError)
    assert error.message == message
    assert "dstack aws setup" in (error.hint or "") or "settings.ec2.subnet" in (error.hint or "")


def test_a_profile_that_was_just_made_is_waited_for(aws, backend, launch):
    fault = aws.fault("RunInstances", "InvalidParameterValue", message=NO_PROFILE, count=2)
    handle = backend.launch(OFFER, launch)
    assert aws.met(fault) == 2
    backend.terminate(launch.machine, handle)


def test_images_by_parameter_by_name_and_for_gpus(aws, launch):
    plain = aws.image("box-1", parameter="/aws/service/box/plain")
    gpus = aws.image("gpu-box-1")
    owner = aws.client("ec2").describe_images(ImageIds=[gpus])["Images"][0]["OwnerId"]
    backend = Ec2Backend(settings_of(aws, ami="/aws/service/box/plain", gpu_ami=f"{owner}/gpu-box-*"))
    backend.launch(OFFER, launch)
    backend.launch(replace(OFFER, gpu=Gpu(1, "T4")), replace(launch, machine="2-gpu"))
    taken = [one["parameters"]["ImageId"] for one in aws.events() if one["action"] == "RunInstances"]
    assert taken == [plain, gpus]
    for machine in (launch.machine, "2-gpu"):
        backend.terminate(machine, None)


def test_expired_credentials(aws, backend, launch, monkeypatch):
    own = aws.box.tell("key", account=aws.id, user="tester")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", own["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own["secret"])
    backend.launch(OFFER, launch)
    aws.expire(own["key"])
    assert backend.state(launch.machine, None) == "unknown"
    error = refusal(backend, replace(launch, machine="2-x"))
    assert isinstance(error, CredentialsError)
    assert error.message == "cannot start a machine: the AWS credentials have expired"
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)
    Ec2Backend(settings_of(aws)).terminate(launch.machine, None)


def test_a_notice_is_read_on_the_machine(aws, backend, launch):
    assert isinstance(backend, SupportsNotice)
    assert backend.notice() is None
    backend.launch(replace(OFFER, spot=True), launch)
    instance = aws.client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    aws.wait_for_state(instance, "running")
    asked = ("python3", "-c", f"{inspect.getsource(ec2_notice)}\nprint(interruption())")
    assert aws.run(instance, *asked).out.strip() == "None"
    aws.warn(instance, 300)
    told = ast.literal_eval(aws.run(instance, *asked).out.strip())
    assert 200 < told - time.time() <= 301
    backend.terminate(launch.machine, None)


def test_leftovers_are_found_by_label_and_ended(aws, backend, launch):
    assert isinstance(backend, SupportsLeftovers)
    backend.launch(OFFER, launch)
    client = aws.client("ec2")
    tags = [{"Key": "dstack:machine", "Value": "9-lost"}, {"Key": "dstack:run", "Value": "old-1"}]
    size = {"AvailabilityZone": "us-east-1a", "Size": 730}
    client.create_volume(**size, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}])
    client.create_volume(**size)
    client.allocate_address(TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
    stranger = client.allocate_address()["AllocationId"]
    found = {one.kind: one for one in backend.leftovers()}
    assert set(found) == {"machine", "disk", "address"}
    machine, disk = found["machine"], found["disk"]
    assert (machine.machine, machine.run, machine.store) == (launch.machine, "grumpy-zebra-1", "store-1")
    assert (machine.price, machine.region) == (0.0208, "us-east-1")
    assert abs(machine.created - time.time()) < 120
    assert (disk.machine, disk.run, disk.store, disk.price) == ("9-lost", "old-1", "", pytest.approx(0.08))
    for one in found.values():
        backend.end(one)
        backend.end(one)
    aws.wait_for(lambda: not backend.leftovers(), "the end of all")
    assert [one["AllocationId"] for one in client.describe_addresses()["Addresses"]] == [stranger]
    client.release_address(AllocationId=stranger)
    (volume,) = client.describe_volumes()["Volumes"]
    client.delete_volume(VolumeId=volume["VolumeId"])
