"""The emulated AWS answers as AWS does where moto does not: tokens, keys, faults, spot requests and prices."""

from __future__ import annotations

import threading
import urllib.request

import pytest
from aws_box import Account, Box
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

SLEEPER = "#!/bin/bash\necho up\n"


def refused(aws: Account, **keys: str) -> str:
    """The error code of a call with these keys."""
    with pytest.raises(ClientError) as caught:
        aws.client("ec2", **keys).describe_instances()
    return str(caught.value.response["Error"]["Code"])


def code_of(call: object, **parameters: object) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)  # type: ignore[operator]
    return str(caught.value.response["Error"]["Code"])


def instances(aws: Account) -> list[str]:
    return [i["InstanceId"] for r in aws.client("ec2").describe_instances()["Reservations"] for i in r["Instances"]]


def end(aws: Account) -> None:
    aws.client("ec2").terminate_instances(InstanceIds=instances(aws))


def test_one_token_is_one_instance(aws: Account):
    first = aws.launch(SLEEPER, ClientToken="once")
    assert aws.launch(SLEEPER, ClientToken="once") == first
    assert code_of(aws.launch, user_data="#!/bin/sh\n", ClientToken="once") == "IdempotentParameterMismatch"
    assert aws.launch(SLEEPER, ClientToken="twice") != first
    (found,) = aws.client("ec2").describe_instances(Filters=[{"Name": "client-token", "Values": ["once"]}])[
        "Reservations"
    ]
    assert found["Instances"][0]["InstanceId"] == first
    end(aws)


def test_many_at_once_with_one_token(aws: Account):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(aws.launch(SLEEPER, ClientToken="once"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({*found}) == 1
    end(aws)


def test_an_answer_that_is_lost_is_asked_for_again(aws: Account):
    fault = aws.fault("RunInstances", lost=True)
    patient = aws.client("ec2", config=Config(retries={"total_max_attempts": 3}))
    made = patient.run_instances(ImageId=aws.image_id, MinCount=1, MaxCount=1, InstanceType="t3.small")
    assert aws.lift(fault) == 1
    assert instances(aws) == [made["Instances"][0]["InstanceId"]]
    with_fault, again = [call for call in aws.events() if call["action"] == "RunInstances"]
    assert with_fault["fault"] == "lost"
    assert with_fault["parameters"]["ClientToken"] == again["parameters"]["ClientToken"]
    end(aws)


def test_a_lost_answer_without_a_second_try(aws: Account):
    aws.fault("RunInstances", lost=True)
    with pytest.raises(HTTPClientError):
        aws.launch(SLEEPER)
    assert len(instances(aws)) == 1
    end(aws)


def test_no_capacity_in_one_zone(aws: Account):
    zone = {"Placement.AvailabilityZone": "us-east-1a"}
    aws.fault("RunInstances", "InsufficientInstanceCapacity", match=zone, count=-1)
    there, elsewhere = ({"AvailabilityZone": f"us-east-1{letter}"} for letter in "ab")
    for _ in range(2):
        assert code_of(aws.launch, Placement=there) == "InsufficientInstanceCapacity"
    aws.launch(SLEEPER, Placement=elsewhere)
    end(aws)


def test_errors_are_counted_and_pass(aws: Account):
    ec2 = aws.client("ec2")
    fault = aws.fault("Describe*", "RequestLimitExceeded", skip=1, count=2)
    ec2.describe_instances()
    assert [code_of(ec2.describe_instances) for _ in range(2)] == ["RequestLimitExceeded"] * 2
    ec2.describe_instances()
    assert aws.met(fault) == 2


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("ec2", "describe_regions", "UnauthorizedOperation"),
        ("sts", "get_caller_identity", "AccessDenied"),
        ("secretsmanager", "list_secrets", "AccessDeniedException"),
        ("s3", "list_buckets", "AccessDenied"),
    ],
)
def test_errors_in_each_protocol(aws: Account, service: str, call: str, code: str):
    aws.fault("*", code)
    assert code_of(getattr(aws.client(service), call)) == code
    getattr(aws.client(service), call)()
    assert [event["error"] for event in aws.events()] == [code, ""]


def test_an_error_whose_instance_appears_later(aws: Account):
    aws.fault("RunInstances", "InternalError", effect=True, hidden=2)
    assert code_of(aws.launch) == "InternalError"
    assert [len(instances(aws)) for _ in range(3)] == [0, 0, 1]
    end(aws)


def test_a_new_instance_is_not_found_yet(aws: Account):
    aws.fault("RunInstances", hidden=1)
    instance = aws.launch(SLEEPER)
    assert code_of(aws.client("ec2").describe_instances, InstanceIds=[instance]) == "InvalidInstanceID.NotFound"
    assert aws.instance(instance)["InstanceId"] == instance
    end(aws)


@pytest.mark.parametrize(("where", "made"), [("before", 0), ("after", 1)])
def test_a_call_is_held_until_the_test_lets_go(aws: Account, where: str, made: int):
    fault = aws.fault("RunInstances", hold=where)
    thread = threading.Thread(target=aws.launch, args=(SLEEPER,))
    thread.start()
    aws.wait_for(lambda: aws.met(fault), "the call to arrive")
    aws.wait_for(lambda: len(instances(aws)) == made, "its effect")
    aws.lift(fault)
    thread.join()
    assert len(instances(aws)) == 1
    end(aws)


def test_a_delay_ends_early_when_it_is_lifted(aws: Account):
    fault = aws.fault("DescribeRegions", delay=3600.0)
    thread = threading.Thread(target=aws.client("ec2").describe_regions)
    thread.start()
    aws.wait_for(lambda: aws.met(fault), "the call to arrive")
    aws.lift(fault)
    thread.join()


def test_keys_that_are_wrong(aws: Account):
    assert refused(aws, secret="wrong" * 8) == "AuthFailure"
    assert refused(aws, key="AKIA" + "X" * 16) == "AuthFailure"
    assert code_of(aws.client("sts", secret="no").get_caller_identity) == "SignatureDoesNotMatch"
    aws.expire()
    assert refused(aws) == "RequestExpired"


def test_objects_pass_with_any_name_and_signature(aws: Account):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=f"b{aws.id}")
    key = "a b/ü+~%2F=&.txt"
    s3.put_object(Bucket=f"b{aws.id}", Key=key, Body=b"text", IfNoneMatch="*")
    assert code_of(s3.put_object, Bucket=f"b{aws.id}", Key=key, Body=b"x", IfNoneMatch="*") == "PreconditionFailed"
    assert s3.get_object(Bucket=f"b{aws.id}", Key=key)["Body"].read() == b"text"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=f"b{aws.id}", Prefix="a b/")["Contents"]] == [key]
    s3 = aws.client("s3", config=Config(signature_version="s3v4"))
    url = s3.generate_presigned_url("get_object", Params={"Bucket": f"b{aws.id}", "Key": key})
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"text"
    actions = [event["action"] for event in aws.events()]
    assert actions == ["CreateBucket", "PutObject", "PutObject", "GetObject", "ListObjectsV2", "GetObject"]


def test_accounts_do_not_see_each_other(aws: Account, aws_box: Box):
    other = aws_box.account()
    instance = other.launch(SLEEPER)
    other.wait_for_state(instance, "running")
    assert instances(aws) == []
    assert code_of(aws.client("ec2").terminate_instances, InstanceIds=[instance]) == "InvalidInstanceID.NotFound"
    aws.fault("*", "InternalError", count=-1)
    assert instances(other) == [instance]
    assert {event["action"] for event in aws.events()} == {"DescribeInstances", "TerminateInstances"}
    end(other)
    other.close()


def test_the_log_of_calls_says_who_and_what(aws: Account):
    aws.client("ec2").create_key_pair(KeyName="mine")
    (event,) = aws.events()
    assert (event["service"], event["action"]) == ("ec2", "CreateKeyPair")
    assert event["parameters"]["KeyName"] == "mine"
    assert event["caller"] == f"arn:aws:iam::{aws.id}:user/tester"
    assert (event["status"], event["error"], event["machine"]) == (200, "", False)
    assert aws.events(after=event["number"]) == []


def test_a_spot_request_lives_with_its_instance(aws: Account):
    ec2 = aws.client("ec2")
    options = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.5", "SpotInstanceType": "one-time"}}
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "of", "Value": "a test"}]}]
    made = ec2.run_instances(
        ImageId=aws.image_id, MinCount=1, MaxCount=1, InstanceMarketOptions=options, TagSpecifications=tags
    )["Instances"][0]
    assert made["InstanceLifecycle"] == "spot"
    (request,) = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[made["SpotInstanceRequestId"]])[
        "SpotInstanceRequests"
    ]
    assert (request["State"], request["InstanceId"]) == ("active", made["InstanceId"])
    assert (request["Type"], request["Tags"]) == ("one-time", [{"Key": "of", "Value": "a test"}])
    end(aws)
    (request,) = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-by-user")


def test_spot_prices_are_what_a_test_sets(aws: Account):
    aws.set_price("t3.small", 0.004)
    aws.set_price("t3.small", 0.002, zone="us-east-1b")
    ec2 = aws.client("ec2")
    found = ec2.describe_spot_price_history(
        InstanceTypes=["t3.small", "g4dn.xlarge"], ProductDescriptions=["Linux/UNIX"]
    )["SpotPriceHistory"]
    prices = {(one["InstanceType"], one["AvailabilityZone"]): float(one["SpotPrice"]) for one in found}
    assert prices["t3.small", "us-east-1a"] == 0.004
    assert prices["t3.small", "us-east-1b"] == 0.002
    assert max(prices, key=lambda where: prices[where])[0] == "g4dn.xlarge"
    pages = [*ec2.get_paginator("describe_spot_price_history").paginate()]
    assert len(pages) > 1


def test_an_unknown_image_and_an_unknown_type(aws: Account):
    assert code_of(aws.launch, ImageId="ami-0123456789abcdef0") == "InvalidAMIID.NotFound"
    assert code_of(aws.launch, InstanceType="t99.huge") == "InvalidInstanceType.NotFound"


def test_a_service_that_is_not_there_answers_as_the_test_says(aws: Account):
    pricing = aws.client("pricing")
    assert code_of(pricing.get_products, ServiceCode="AmazonEC2") == "InternalFailure"
    aws.fault("GetProducts", body='{"PriceList": ["{}"], "FormatVersion": "1"}', match={"ServiceCode": "AmazonEC2"})
    assert pricing.get_products(ServiceCode="AmazonEC2")["PriceList"] == ["{}"]


def test_an_image_is_found_by_a_public_parameter(aws: Account):
    name = "/aws/service/box/image"
    image = aws.image(parameter=name)
    assert aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == image
