"""What an instance is told at the metadata address, and what its role lets it call."""

from __future__ import annotations

import datetime
import json

from aws_box import Account
from botocore.config import Config

ROLE = "worker"
TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
ASK = r"""
import json, sys, urllib.error, urllib.request
BASE = "http://169.254.169.254/latest/"
def ask(path, method="GET", **headers):
    headers = {"X-aws-ec2-metadata-" + name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(BASE + path, method=method, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
token = ask("api/token", "PUT", token_ttl_seconds="60")[1]
paths = sys.argv[1:]
print(json.dumps({
    "without token": ask("meta-data/instance-id")[0],
    "wrong token": ask("meta-data/instance-id", token="no")[0],
    "no ttl": ask("api/token", "PUT")[0],
    **{path: ask(path, token=token) for path in paths},
}))
"""
CALL = """
import json, urllib.request
base = "http://169.254.169.254/latest/"
def ask(path, method="GET", **headers):
    request = urllib.request.Request(base + path, method=method, headers=headers)
    return urllib.request.urlopen(request).read().decode()
token = ask("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
print(ask("meta-data/iam/security-credentials/worker", **{"X-aws-ec2-metadata-token": token}))
"""


def up(aws: Account, **parameters: object) -> str:
    options = {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
    instance = aws.launch("#!/bin/bash\necho up\n", MetadataOptions=options, **parameters)
    aws.wait_for_state(instance, "running")
    aws.wait_for(lambda: "up\n" in aws.console(instance), "the user data to run", instance)
    return instance


def ask(aws: Account, instance: str, *paths: str) -> dict[str, object]:
    return dict(json.loads(aws.run(instance, "python3", "-c", ASK, *paths).out))


def test_who_it_is(aws: Account):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "run", "Value": "grumpy-zebra-1"}]}]
    instance = up(aws, TagSpecifications=tags)
    document = "dynamic/instance-identity/document"
    told = ask(
        aws, instance, "meta-data/instance-id", "meta-data/placement/", "meta-data/nothing", "user-data", document,
        "meta-data/tags/instance/run",
    )  # fmt: skip
    assert (told["without token"], told["wrong token"], told["no ttl"]) == (401, 401, 400)
    assert told["meta-data/instance-id"] == [200, instance]
    assert told["meta-data/placement/"] == [200, "availability-zone\nregion"]
    assert told["meta-data/tags/instance/run"] == [200, "grumpy-zebra-1"]
    assert told["meta-data/nothing"] == [404, ""]
    assert told["user-data"] == [200, "#!/bin/bash\necho up\n"]
    identity = json.loads(told[document][1])  # type: ignore[index]
    assert (identity["instanceId"], identity["accountId"], identity["region"]) == (instance, aws.id, aws.region)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_a_role_may_call(aws: Account):
    iam = aws.client("iam")
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName=ROLE)
    iam.add_role_to_instance_profile(InstanceProfileName=ROLE, RoleName=ROLE)
    instance = up(aws, IamInstanceProfile={"Name": ROLE})
    told = ask(aws, instance, "meta-data/iam/security-credentials/")
    assert told["meta-data/iam/security-credentials/"] == [200, ROLE]
    keys = json.loads(aws.run(instance, "python3", "-c", CALL).out)
    sts = aws.client("sts", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"], aws_session_token=keys["Token"])
    arn = f"arn:aws:sts::{aws.id}:assumed-role/{ROLE}/{instance}"
    assert sts.get_caller_identity()["Arn"] == arn
    assert aws.events()[-1]["caller"] == arn
    bucket = f"b{aws.id}"
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("s3").put_object(Bucket=bucket, Key="note", Body=b"from a bucket")
    options = {"aws_session_token": keys["Token"], "config": Config(signature_version="s3v4")}
    s3 = aws.client("s3", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"], **options)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "note"})
    assert aws.run(instance, "curl", "-s", url).out == "from a bucket"
    event = aws.events()[-1]
    assert (event["action"], event["caller"], event["machine"]) == ("GetObject", arn, True)
    aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_a_spot_notice_and_then_the_end(aws: Account):
    instance = up(aws, InstanceMarketOptions={"MarketType": "spot"})
    assert ask(aws, instance, "meta-data/spot/instance-action")["meta-data/spot/instance-action"] == [404, ""]
    aws.warn(instance, seconds=5)
    (_, text) = ask(aws, instance, "meta-data/spot/instance-action")["meta-data/spot/instance-action"]  # type: ignore[misc]
    notice = json.loads(text)
    assert notice["action"] == "terminate"
    assert datetime.datetime.fromisoformat(notice["time"].replace("Z", "+00:00"))
    gone = aws.wait_for_state(instance, "terminated")
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    (request,) = aws.client("ec2").describe_spot_instance_requests()["SpotInstanceRequests"]
    assert (request["State"], request["Status"]["Code"]) == ("closed", "instance-terminated-no-capacity")


def test_a_spot_instance_is_taken_without_notice(aws: Account):
    instance = up(aws, InstanceMarketOptions={"MarketType": "spot"})
    aws.reclaim(instance)
    assert aws.wait_for_state(instance, "terminated")["StateReason"]["Code"] == "Server.SpotInstanceTermination"
