"""What the backend `ec2` offers, from lists of an account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_box import Account, Box
from dstack_aws.ec2_backend import Ec2Backend
from ec2_settings import settings_of

from dstack_core.errors import CredentialsError, DstackError, InputError, StoreError
from dstack_core.models import Gpu, Launch, Requirements

TYPES = ["t3.micro", "t3.small", "m5.large", "g5.xlarge", "g4ad.xlarge", "m6g.large", "u-3tb1.56xlarge"]
"""Among them what is too small, has AMD's GPUs, or another architecture."""
DISK = 0.08 * 100 / 730
"""USD per hour of the usual disk."""


@pytest.fixture(scope="module")
def shared(aws_box: Box) -> Iterator[Account]:
    """An account in which nothing is launched."""
    account = aws_box.account()
    yield account
    account.close()


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dstack folder for the whole module, so that lists are fetched once."""
    return str(tmp_path_factory.mktemp("lists"))


@pytest.fixture(autouse=True)
def environ(shared: Account, lists: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**shared.environ, "DSTACK_HOME": lists}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def forgetful(environ: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered of other tests."""
    monkeypatch.setenv("DSTACK_HOME", str(home))


@pytest.fixture
def backend(shared: Account) -> Any:
    return lambda **more: Ec2Backend(settings_of(shared, **{"instance_types": TYPES, **more}))


def test_the_cheapest_comes_first_in_each_zone_with_its_disk(backend):
    fitting = backend(zones=["us-east-1a", "us-east-1b"]).offers(Requirements(cpu=2)).fitting
    first = fitting[0]
    assert (first.backend, first.name, first.cpu, first.memory) == ("ec2", "t3.small", 2, 2 << 30)
    assert (first.region, first.zone, first.spot, first.disk) == ("us-east-1", "us-east-1a", False, 100 * 10**9)
    assert first.price == pytest.approx(0.0208 + DISK, abs=1e-5)
    assert [(one.name, one.zone) for one in fitting[:4]] == [
        ("t3.small", "us-east-1a"), ("t3.small", "us-east-1b"), ("m5.large", "us-east-1a"), ("m5.large", "us-east-1b"),
    ]  # fmt: skip


def test_what_our_images_cannot_start_on_is_not_offered(backend):
    found = backend(prices=dict.fromkeys(TYPES, 0.01)).offers(Requirements())
    assert {one.name for one in found.fitting} == {"t3.small", "m5.large", "g5.xlarge", "u-3tb1.56xlarge"}
    assert found.rejected[-2:] == [
        "t3.micro: it has less than 2 GiB of memory",
        "m6g.large: its processors are arm64, and machines start from images for x86_64",
    ]


@pytest.mark.parametrize(
    "settings", [{"instance_types": ["c7g.large"]}, {"instance_types": ["c7g.large*", "x8.large"]}]
)
def test_machines_with_arm_processors_are_rejected_with_the_reason(backend, settings):
    found = backend(**settings).offers(Requirements())
    assert not found.fitting
    assert "c7g.large: its processors are arm64, and machines start from images for x86_64" in found.rejected
    named = backend(instance_types=["t4g.*", "m5.large"]).offers(Requirements(instance_types=("t4g.large",)))
    assert not named.fitting
    assert [one.partition(":")[0] for one in named.rejected] == ["m5.large", "t4g.large"]
    unnamed = backend(instance_types=["t4g.*", "m5.large"]).offers(Requirements())
    assert {one.name for one in unnamed.fitting} == {"m5.large"}
    assert unnamed.rejected == []


def test_an_image_for_arm_is_one_error_before_anything_is_launched(backend, shared):
    arm = shared.image(architecture="arm64")
    before = len(shared.events())
    own = backend(ami=arm)
    (offer, *_) = own.offers(Requirements()).fitting
    with pytest.raises(InputError, match=f"the image {arm} is for arm64, and machines of dstack are x86_64") as caught:
        own.launch(offer, Launch("0-x", "run-1", ("true",)))
    assert caught.value.hint == "dstack config set settings.ec2.ami with an image for x86_64"
    assert not [call for call in shared.events()[before:] if call["action"] == "RunInstances"]


def test_gpus_by_name_count_and_memory(backend):
    (first, *_) = backend().offers(Requirements(gpu=Gpu(1, "A10G", 22 * 10**9))).fitting
    assert (first.name, first.gpu) == ("g5.xlarge", Gpu(1, "A10G", 22888 << 20))
    assert not backend().offers(Requirements(gpu=Gpu(2, "A10G"))).fitting


def test_shared_memory_is_memory(backend):
    assert backend().offers(Requirements(shm_size=4 << 30)).fitting[0].name == "m5.large"


def test_a_disk_as_large_as_a_job_asks_for_is_paid(backend):
    (first, *_) = backend().offers(Requirements(disk=10**12)).fitting
    assert first.disk == 10**12
    assert first.price == pytest.approx(0.0208 + 10 * DISK, abs=1e-5)


def test_what_is_larger_than_its_quota_is_not_offered_and_it_is_said_how_to_ask_for_more(forgetful, backend, shared):
    shared.set_quota("L-DB2E81BA", 0)
    found = backend().offers(Requirements(gpu=Gpu(1)))
    assert not found.fitting
    (told,) = [line for line in found.rejected if line.startswith("g5.xlarge")]
    assert "has 4 vCPUs, and the account's quota of such machines in us-east-1 is 0" in told
    assert "--quota-code L-DB2E81BA --desired-value 4 --region us-east-1" in told
    (spot, *_) = backend().offers(Requirements(gpu=Gpu(1), interruptible=True)).fitting
    assert (spot.name, spot.spot) == ("g5.xlarge", True), "spot machines have a quota of their own"
    before = shared.events()
    assert backend().offers(Requirements(cpu=2)).fitting[0].name == "t3.small"
    assert not [call for call in shared.events(before[-1]["number"]) if call["action"] == "ListServiceQuotas"]
    shared.set_quota("L-DB2E81BA", 640)


def test_who_may_not_ask_for_quotas_is_told_once(forgetful, backend, shared, caplog):
    fault = shared.fault("ListServiceQuotas", "AccessDeniedException", count=-1)
    for _ in range(2):
        assert backend().offers(Requirements(gpu=Gpu(1))).fitting
    assert shared.lift(fault) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "quotas in us-east-1" in caplog.text


def test_spot_prices_are_those_of_the_zone(forgetful, backend, shared):
    shared.set_price("t3.small", 0.004)
    shared.set_price("t3.small", 0.003, "us-east-1c")
    first, second, *_ = backend().offers(Requirements(interruptible=True)).fitting
    assert (first.name, first.zone, first.spot) == ("t3.small", "us-east-1c", True)
    assert first.price == pytest.approx(0.003 + DISK, abs=1e-5)
    assert second.price == pytest.approx(0.004 + DISK, abs=1e-5)
    assert not any(one.spot for one in backend().offers(Requirements()).fitting)


def test_max_price_and_types_of_a_job(backend):
    assert {one.name for one in backend().offers(Requirements(max_price=0.1)).fitting} == {"t3.small"}
    only = backend().offers(Requirements(instance_types=("m5.large",)))
    assert {one.name for one in only.fitting} == {"m5.large"}
    assert "t3.small: is not among instance_types" in only.rejected


def test_a_type_without_a_price_is_said(backend):
    found = backend().offers(Requirements(memory=10**12))
    assert not found.fitting
    assert any(one.startswith("u-3tb1.56xlarge: no price is known; dstack config set") for one in found.rejected)
    priced = backend(prices={"u-3tb1.56xlarge": 27.3}).offers(Requirements(memory=10**12))
    assert priced.fitting[0].name == "u-3tb1.56xlarge"


def item(name: str, price: str) -> str:
    """Of AWS's price list, without what nobody reads."""
    terms = {"OnDemand": {"a": {"priceDimensions": {"b": {"unit": "Hrs", "pricePerUnit": {"USD": price}}}}}}
    return json.dumps({"product": {"attributes": {"instanceType": name}}, "terms": terms})


def test_the_price_list_wins_over_the_table_and_own_prices_over_both(forgetful, backend, shared):
    items = [item("m5.large", "0.01"), item("u-3tb1.56xlarge", "27.3"), item("t3.small", "0.0000000000")]
    pages = [{"PriceList": items[:2], "NextToken": "2"}, {"PriceList": items[2:]}]
    for page in pages:
        shared.fault("GetProducts", body=json.dumps(page))
    types = [
        one.name for one in backend(zones=["us-east-1a"], prices={"g5.xlarge": 0.02}).offers(Requirements()).fitting
    ]
    assert types == ["m5.large", "g5.xlarge", "t3.small", "u-3tb1.56xlarge"]
    asked = [call["parameters"] for call in shared.events() if call["action"] == "GetProducts"][-2]
    assert {one["Field"]: one["Value"] for one in asked["Filters"]}["regionCode"] == "us-east-1"
    again = backend(zones=["us-east-1a"]).offers(Requirements()).fitting
    assert (again[0].name, again[0].price) == ("m5.large", pytest.approx(0.01 + DISK, abs=1e-5))


def test_regions_are_compared(backend):
    found = backend(regions=["eu-west-1", "us-west-2"]).offers(Requirements()).fitting
    assert [found[0].region, found[-1].region] == ["us-west-2", "eu-west-1"]


def test_zones_without_such_a_machine(backend):
    found = backend(zones=["us-east-1z"]).offers(Requirements())
    assert not found.fitting
    assert found.rejected == ["us-east-1: no such machine type in the zones to use"]


def test_a_subnet_decides_the_zone(backend, shared):
    subnets = shared.client("ec2").describe_subnets()["Subnets"]
    subnet = next(one["SubnetId"] for one in subnets if one["AvailabilityZone"] == "us-east-1d")
    assert {one.zone for one in backend(subnet=subnet).offers(Requirements()).fitting} == {"us-east-1d"}
    with pytest.raises(InputError, match="there is no subnet subnet-0 in us-east-1"):
        backend(subnet="subnet-0").offers(Requirements())


def test_lists_are_fetched_once_an_hour(backend, shared):
    backend().offers(Requirements(interruptible=True))
    before = len(shared.events())
    backend().offers(Requirements(interruptible=True, cpu=2))
    assert len(shared.events()) == before


def test_patterns_of_types(shared, monkeypatch):
    backend = Ec2Backend(settings_of(shared, instance_types=["t3.s*", "g4dn.[x]large"]))
    assert {one.name for one in backend.offers(Requirements()).fitting} == {"t3.small", "g4dn.xlarge"}


# --- errors: one sentence, and what to do ---


def failure(backend: Ec2Backend) -> DstackError:
    with pytest.raises(DstackError) as caught:
        backend.offers(Requirements())
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    return caught.value


def test_a_misspelt_region(backend):
    error = failure(backend(regions=["us-east-11"]))
    assert (error.message, error.hint) == ("AWS has no region us-east-11", "did you mean us-east-1?")
    assert isinstance(error, InputError)


def test_no_region(backend, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION")
    error = failure(backend())
    assert (error.message, error.hint) == ("no AWS region is set", "dstack config set settings.ec2.regions REGION")


def test_no_such_profile(backend):
    error = failure(backend(profile="nobody"))
    assert error.message == "cannot look for machines: AWS has no profile nobody"
    assert "settings.ec2.profile" in (error.hint or "")


def test_wrong_credentials(forgetful, backend, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    error = failure(backend())
    assert isinstance(error, CredentialsError)
    assert error.message == "cannot list machine types: the server does not accept these credentials (AuthFailure)"


def test_no_credentials(forgetful, backend, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    error = failure(backend())
    assert (error.message, error.hint) == ("cannot list machine types: there are no AWS credentials", "aws configure")


def test_no_permission(forgetful, backend, shared):
    message = "You are not authorized to perform this operation. Encoded authorization failure message: aGVsbG8"
    fault = shared.fault("DescribeInstanceTypes", "UnauthorizedOperation", message=message)
    error = failure(backend(instance_types=["t3.small"]))
    shared.lift(fault)
    assert isinstance(error, CredentialsError)
    assert error.message.endswith("access denied (You are not authorized to perform this operation.)")


def test_no_server(forgetful, backend, monkeypatch):
    error = failure(backend(endpoint_url="http://127.0.0.1:9", patience=0.2))
    assert isinstance(error, StoreError)
    assert error.message.startswith("cannot list machine types: no connection")
