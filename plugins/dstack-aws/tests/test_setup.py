"""The bucket that `dstack config` makes, and the questions that lead to it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from dstack_aws.s3_store import S3Store
from dstack_aws.settings import S3Settings, SecretsManagerSettings
from pydantic import ValidationError

from dstack_core.errors import CredentialsError
from dstack_core.setup import SupportsSetup, SupportsSuggestions, is_asked


@pytest.fixture
def wanted(moto) -> dict[str, Any]:
    """A bucket that does not exist, in a region where that has to be said."""
    return {"bucket": f"team-{os.urandom(5).hex()}", "region": "eu-west-1", "endpoint_url": moto.endpoint}


def test_a_bucket_is_made_and_made_again(wanted, moto):
    store = S3Store(wanted)
    assert isinstance(store, SupportsSetup)
    (line,) = store.lacking()
    assert wanted["bucket"] in line
    store.set_up()
    assert S3Store(wanted).lacking() == []
    S3Store(wanted).set_up()
    client = moto.client()
    assert client.get_bucket_location(Bucket=wanted["bucket"])["LocationConstraint"] == "eu-west-1"
    blocked = client.get_public_access_block(Bucket=wanted["bucket"])["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=wanted["bucket"])["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    store.write("a/key", b"x")
    assert S3Store(wanted).read("a/key").data == b"x"


def test_a_bucket_of_somebody_keeps_its_rules(wanted, moto):
    client = moto.client()
    client.create_bucket(Bucket=wanted["bucket"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    (line,) = S3Store(wanted).lacking()
    assert "a rule of the bucket" in line
    theirs = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(Bucket=wanted["bucket"], LifecycleConfiguration={"Rules": [theirs]})
    assert S3Store(wanted).lacking() == []
    S3Store(wanted).set_up()
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=wanted["bucket"])["Rules"]
    assert rule["ID"] == "mine"


def test_a_server_without_such_rules(weed):
    """SeaweedFS makes buckets; whatever it lacks beside that stops nothing."""
    settings = {"bucket": f"team-{os.urandom(5).hex()}", "endpoint_url": weed.endpoint}
    S3Store(settings).set_up()
    store = S3Store(settings)
    assert not any("the bucket team" in line and "private" in line for line in store.lacking())
    store.write("a/key", b"x")
    assert store.read("a/key").data == b"x"


def test_what_is_suggested(wanted, moto, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile work]\nregion = eu-central-1\n[default]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert isinstance(S3Settings, SupportsSuggestions)
    assert S3Settings.suggestions("profile", {}) == ["", "default", "work"]
    regions = S3Settings.suggestions("region", {"profile": "work"})
    assert regions[0] == "eu-central-1"
    assert "us-east-1" in SecretsManagerSettings.suggestions("region", {})
    moto.client().create_bucket(Bucket=wanted["bucket"])
    buckets = S3Settings.suggestions("bucket", {"endpoint_url": moto.endpoint})
    assert buckets[0] == "", "nobody's bucket is taken by pressing Enter"
    assert wanted["bucket"] in buckets
    assert S3Settings.suggestions("prefix", {}) == ()


def test_no_suggestion_without_credentials(weed, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(CredentialsError):
        S3Settings.suggestions("bucket", {"endpoint_url": weed.endpoint})


def test_what_is_asked_and_what_a_bucket_can_be_called():
    asked = [name for name, field in S3Settings.model_fields.items() if is_asked(field)]
    assert asked == ["profile", "region", "bucket"]
    assert S3Settings(bucket="our.runs-2").bucket == "our.runs-2"
    with pytest.raises(ValidationError, match="3 to 63 lower-case letters"):
        S3Settings(bucket="Our_Runs")
