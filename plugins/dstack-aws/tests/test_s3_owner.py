"""Whose a bucket is, and what its key allows: S3 refuses, and people read why."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from aws_box import Account
from dstack_aws import policies
from dstack_aws.denials import DeniedError
from dstack_aws.policies import Scope
from dstack_aws.s3_leftovers import abort_leftovers
from dstack_aws.s3_store import S3Store

from dstack_core.artifact_store import ABSENT
from dstack_core.errors import ConflictError, NotFoundError

LARGE = b"x" * (17 << 20)
"""In several parts."""
ELSEWHERE = "111122223333"
UNABLE_TO_SAY = {"CreateBucket", "ListBuckets"}
"""Actions whose requests cannot say whose the bucket has to be."""
ACTS: dict[str, Callable[[S3Store], object]] = {
    "read": lambda store: store.read("a/key"),
    "write": lambda store: store.write("a/key", b"x", ABSENT),
    "write a/large": lambda store: store.write("a/large", LARGE),
    "list": lambda store: list(store.list("a/")),
    "exists": lambda store: store.exists("a/key"),
    "delete": lambda store: store.delete("a/key"),
    "set up": lambda store: store.set_up(),
    "lacking": lambda store: store.lacking(),
}


@pytest.fixture(autouse=True)
def environ(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(aws: Account) -> str:
    """One of the account."""
    name = f"dstack-{aws.id}"
    aws.client("s3").create_bucket(Bucket=name)
    return name


def since(aws: Account, before: int) -> list[dict[str, Any]]:
    return [call for call in aws.events(before) if call["service"] == "s3"]


def test_every_request_says_whose_the_bucket_has_to_be(aws):
    store = S3Store({"bucket": f"made-{aws.id}", "expected_bucket_owner": aws.id})
    before = max((call["number"] for call in aws.events()), default=0)
    assert store.lacking()
    store.set_up()
    version = store.write("a/key", b"x", ABSENT)
    with pytest.raises(ConflictError):
        store.write("a/key", b"y", ABSENT)
    store.write("a/large", LARGE)
    aws.fault("CompleteMultipartUpload", "AccessDenied", message="User: me is not authorized to perform: s3:PutObject")
    with pytest.raises(DeniedError, match="s3:PutObject"):
        store.write("a/other", LARGE)
    abort_leftovers(store._bucket)
    assert store.read("a/key", 0, 1).data == b"x"
    assert [info.key for info in store.list("a/")] == ["a/key", "a/large"]
    assert store.exists("a/key")
    with pytest.raises(NotFoundError):
        store.read("a/none")
    assert urllib.request.urlopen(store.link("a/key", 60)).read() == b"x"
    put = urllib.request.Request(store.link("a/put", 60, write=True), b"y", method="PUT")
    assert urllib.request.urlopen(put).status == 200
    store.delete("a/key", version)
    calls = [call for call in since(aws, before) if call["action"] not in UNABLE_TO_SAY]
    assert {call["parameters"].get("ExpectedBucketOwner") for call in calls} == {aws.id}
    assert {call["action"] for call in calls} >= {
        "GetObject", "PutObject", "HeadObject", "DeleteObject", "ListObjectsV2", "CreateMultipartUpload", "UploadPart",
        "CompleteMultipartUpload", "AbortMultipartUpload", "ListMultipartUploads", "PutPublicAccessBlock",
        "GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration",
    }  # fmt: skip


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_bucket_of_another_account_is_refused(act, aws, bucket):
    aws.client("s3").put_object(Bucket=bucket, Key="a/key", Body=b"theirs")
    store = S3Store({"bucket": bucket, "expected_bucket_owner": ELSEWHERE})
    with pytest.raises(DeniedError, match=f"the bucket is not of the account {ELSEWHERE}, or you may not") as caught:
        act(store)
    assert caught.value.message.count("denied") == 1
    assert caught.value.hint.endswith("dstack config set settings.s3.expected_bucket_owner ACCOUNT")
    assert (caught.value.owner, caught.value.exit_code, caught.value.lasting) == ("credentials", 77, True)
    assert [found["Key"] for found in aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]] == ["a/key"]


def test_a_link_to_a_bucket_of_another_account_leads_nowhere(aws, bucket):
    aws.client("s3").put_object(Bucket=bucket, Key="a/key", Body=b"theirs")
    link = S3Store({"bucket": bucket, "expected_bucket_owner": ELSEWHERE}).link("a/key", 60)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link)


def test_a_bucket_is_not_made_with_another_accounts_credentials_unsaid(aws):
    store = S3Store({"bucket": f"made-{aws.id}", "expected_bucket_owner": ELSEWHERE})
    with pytest.raises(DeniedError, match=f"not of the account {ELSEWHERE}"):
        store.set_up()


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def key(aws: Account, bucket: str) -> str:
    """A key that the bucket encrypts all with, by its name of AWS."""
    arn = str(aws.client("kms").create_key()["KeyMetadata"]["Arn"])
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}}
    aws.client("s3").put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return arn


def denial(right: str, key: str) -> str:
    """As S3 says it."""
    return (
        f"User: arn:aws:iam::1:user/ann is not authorized to perform: {right} on resource: {key} "
        f"because no identity-based policy allows the {right} action"
    )


@pytest.mark.parametrize(
    ("action", "right", "act"),
    [
        ("GetObject", "kms:Decrypt", "read"),
        ("PutObject", "kms:GenerateDataKey", "write"),
        ("CreateMultipartUpload", "kms:GenerateDataKey", "write a/large"),
        ("UploadPart", "kms:Decrypt", "write a/large"),
    ],
)
def test_a_key_that_may_not_be_used(aws, bucket, key, action, right, act):
    store = S3Store({"bucket": bucket})
    store.write("a/key", b"x")
    assert aws.client("s3").head_object(Bucket=bucket, Key="a/key")["SSEKMSKeyId"] == key
    store.delete("a/key") if act == "write" else None
    fault = aws.fault(action, "AccessDenied", message=denial(right, key), count=-1)
    with pytest.raises(DeniedError) as caught:
        ACTS[act](store)
    name = act.partition(" ")[2] or "a/key"
    assert caught.value.message == f"cannot {act.split()[0]} {name}: the right {right} on the key {key} is missing"
    assert "dstack aws policy use" in caught.value.hint
    assert (caught.value.exit_code, caught.value.lasting) == (77, True)
    aws.lift(fault)
    assert not aws.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads")
    ACTS[act](store)


@pytest.mark.parametrize(
    ("said", "settings", "problem"),
    [
        (
            "User: ann is not authorized to perform: kms:GenerateDataKey on this resource because it does not exist",
            {"kms_key": "alias/team"},
            "the right kms:GenerateDataKey on the key alias/team is missing",
        ),
        (
            "The ciphertext refers to a customer master key that does not exist, or you are not allowed to access.",
            {},
            "the right kms:Decrypt on the key of the bucket is missing",
        ),
    ],
)
def test_a_key_that_s3_does_not_name(aws, bucket, said, settings, problem):
    aws.fault("GetObject", "AccessDenied", message=said)
    with pytest.raises(DeniedError) as caught:
        S3Store({"bucket": bucket, **settings}).read("a/key")
    assert caught.value.message == f"cannot read a/key: {problem}"


@pytest.mark.parametrize(
    ("key", "resource", "alias"),
    [
        ("arn:aws:kms:eu-west-1:1:key/abc", "arn:aws:kms:eu-west-1:1:key/abc", None),
        ("abc", "arn:aws:kms:*:*:key/abc", None),
        ("alias/team", "arn:aws:kms:*:*:key/*", "alias/team"),
        ("arn:aws:kms:eu-west-1:1:alias/team", "arn:aws:kms:*:*:key/*", "alias/team"),
    ],
)
def test_policies_allow_the_key_that_is_set(key, resource, alias):
    for made in (policies.use(Scope(key=key)), policies.machine(Scope(key=key))):
        (found,) = [one for one in made["Statement"] if one["Sid"] == "Key"]
        assert (found["Action"], found["Resource"]) == (["kms:Decrypt", "kms:GenerateDataKey"], resource)
        assert (alias is None) == ("Condition" not in found)
        assert alias is None or alias in json.dumps(found["Condition"])
