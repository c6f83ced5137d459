"""The S3 store beside servers and networks that fail. Each test says what fails; the server behind it is real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from dstack_aws import s3_writing
from dstack_aws.s3_store import S3Store
from fault_proxy import Fault, FaultProxy, s3_error
from weed import S3Server

from dstack_core.artifact_store import ABSENT
from dstack_core.errors import ConflictError, NotFoundError, StoreError


@pytest.fixture
def proxy(weed: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(weed.endpoint) as running:
        yield running


@pytest.fixture
def store(settings: dict[str, Any], proxy: FaultProxy) -> S3Store:
    """The store, seen through the proxy."""
    return S3Store({**settings, "endpoint_url": proxy.address})


@pytest.fixture
def other(settings: dict[str, Any]) -> S3Store:
    """The same store, without the proxy: another writer."""
    return S3Store(settings)


# --- lost answers -------------------------------------------------------------------------------------------------


def test_a_creation_whose_answer_was_lost_has_succeeded(store, other, proxy):
    proxy.add(Fault("lost", "PUT"))
    version = store.write("k", b"ours", ABSENT)
    assert proxy.seen("PUT") == 2
    assert (other.read("k").data, other.read("k").version) == (b"ours", version)
    with pytest.raises(ConflictError):
        store.write("k", b"again", ABSENT)


def test_a_replacement_whose_answer_was_lost_has_succeeded(store, other, proxy):
    first = store.write("k", b"1")
    proxy.add(Fault("lost", "PUT"))
    second = store.write("k", b"2", first)
    assert other.read("k").version == second
    store.write("k", b"3", second)
    assert other.read("k").data == b"3"


def test_a_write_that_somebody_replaced_before_its_answer_came_has_succeeded(store, other, proxy):
    first = store.write("k", b"1")

    def replace() -> None:
        for n in range(3):
            other.write("k", b"theirs %d" % n, other.read("k").version)

    proxy.add(Fault("lost", "PUT", call=replace))
    version = store.write("k", b"2", first)
    assert proxy.seen("PUT") == 3
    assert other.read("k").data == b"theirs 2"
    with pytest.raises(ConflictError):
        store.write("k", b"3", version)
    with pytest.raises(ConflictError):
        store.delete("k", version)


def test_a_write_that_somebody_else_won_has_lost_although_an_answer_was_lost(store, other, proxy):
    first = store.write("k", b"1")
    proxy.add(Fault("dropped", "PUT"))
    other.write("k", b"theirs", first)
    with pytest.raises(ConflictError):
        store.write("k", b"2", first)
    assert store.read("k").data == b"theirs"


def test_a_deletion_whose_answer_was_lost_has_succeeded(store, other, proxy):
    version = store.write("k", b"1")
    proxy.add(Fault("lost", "DELETE"))
    store.delete("k", version)
    assert not other.exists("k")
    assert proxy.seen("DELETE") == 2


@pytest.mark.parametrize("act", ["lost", "dropped"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_every_request_survives_a_connection_that_ends(store, proxy, method, act):
    store.write("k", b"1")
    proxy.add(Fault(act, method, times=3))
    store.write("k2", b"2", ABSENT)
    assert store.read("k2").data == b"2"
    assert [o.key for o in store.list("")] == ["k", "k2"]
    store.delete("k2")
    assert not store.exists("k2")


# --- busy servers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError"), (502, ""), (504, ""), (400, "RequestTimeout"),
     (409, "OperationAborted")],
)  # fmt: skip
def test_what_passes_is_waited_for(store, proxy, status, code):
    proxy.add(Fault("answer", times=5, status=status, body=s3_error(code)))
    store.write("k", b"1")
    assert proxy.seen("PUT") == 6
    proxy.add(Fault("answer", times=3, status=status, body=s3_error(code)))
    assert store.read("k").data == b"1"
    proxy.add(Fault("answer", times=2, status=status, body=s3_error(code)))
    assert [o.key for o in store.list("")] == ["k"]


def test_a_conflict_of_two_conditional_requests_is_tried_again(store, proxy):
    proxy.add(Fault("answer", "PUT", times=3, status=409, body=s3_error("ConditionalRequestConflict")))
    version = store.write("k", b"1", ABSENT)
    proxy.add(Fault("answer", "PUT", times=3, status=409, body=s3_error("ConditionalRequestConflict")))
    store.write("k", b"2", version)
    assert store.read("k").data == b"2"


def test_patience_has_an_end(settings, proxy):
    store = S3Store({**settings, "endpoint_url": proxy.address, "patience": 0.5})
    store.write("k", b"1")
    proxy.add(Fault("answer", times=1000, status=503, body=s3_error("SlowDown", "Reduce your request rate.")))
    for act in (lambda: store.read("k"), lambda: store.write("k", b"2"), lambda: list(store.list(""))):
        with pytest.raises(StoreError, match=r"Reduce your request rate. \(SlowDown\)") as failure:
            act()
        assert not failure.value.lasting
    proxy.heal()
    assert store.read("k").data == b"1"


# --- damaged answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["cut", "flip"])
@pytest.mark.parametrize("size", [1, 5000, 3 << 20])
def test_an_answer_that_breaks_off_or_is_damaged_is_fetched_again(store, proxy, act, size):
    data = os.urandom(size)
    store.write("k", data)
    proxy.add(Fault(act, "GET", times=2))
    assert store.read("k").data == data
    assert proxy.seen("GET") == 3


def test_damage_that_lasts_is_an_error(settings, proxy):
    store = S3Store({**settings, "endpoint_url": proxy.address, "patience": 0.3})
    store.write("k", b"12345")
    proxy.add(Fault("flip", "GET", times=1000))
    with pytest.raises(StoreError, match="cannot read k: what arrived is damaged"):
        store.read("k")


def test_a_listing_whose_page_breaks_off_is_complete(store, proxy):
    for n in range(5):
        store.write(f"k/{n}", b"")
    proxy.add(Fault("cut", "GET", times=2))
    assert len(list(store.list("k/"))) == 5


# --- large objects ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(s3_writing, "PART", 5 << 20)
    return 5 << 20


def uploads(server: S3Server, prefix: str) -> list[str]:
    listed = server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=prefix)
    return [upload["Key"] for upload in listed.get("Uploads", ())]


def test_each_request_of_a_large_write_is_tried_again(store, other, proxy, small_parts, weed, own_prefix):
    data = os.urandom(2 * small_parts + 17)
    proxy.add(Fault("lost", "POST", "uploads"), Fault("lost", "PUT", "partNumber=2"), Fault("dropped", "PUT"),
              Fault("answer", "PUT", body=s3_error("SlowDown")))  # fmt: skip
    store.write("large", data, ABSENT)
    assert other.read("large").data == data
    with pytest.raises(ConflictError):
        store.write("large", data, ABSENT)
    proxy.add(Fault("lost", "POST", "uploadId"))
    version = other.read("large").version
    newer = store.write("large", data[::-1], version)
    assert other.read("large") == store.read("large")
    assert other.read("large").version == newer != version
    with pytest.raises(ConflictError):
        store.write("large", data, version)


def test_a_large_creation_whose_last_answer_was_lost_has_succeeded(store, other, proxy, small_parts):
    proxy.add(Fault("lost", "POST", "uploadId"))
    version = store.write("large", bytes(small_parts + 1), ABSENT)
    assert other.read("large").version == version


def test_a_large_write_that_fails_leaves_nothing(store, other, proxy, small_parts, weed, own_prefix):
    refused = Fault("answer", "PUT", "partNumber=2", status=403, body=s3_error("AccessDenied"))
    proxy.add(refused)
    with pytest.raises(StoreError, match="access denied"):
        store.write("large", bytes(2 * small_parts))
    assert not other.exists("large")
    assert uploads(weed, own_prefix) == []


def test_parts_that_a_killed_writer_left_are_removed_when_they_are_old(small_parts, moto, own_prefix):
    moto.client().create_multipart_upload(Bucket=moto.bucket, Key=f"{own_prefix}/left")  # in 2010, it says of each
    S3Store({"bucket": moto.bucket, "prefix": own_prefix, "endpoint_url": moto.endpoint}).write(
        "large", bytes(small_parts + 1)
    )
    assert uploads(moto, own_prefix) == []


def test_parts_that_a_writer_may_be_at_work_on_stay(store, small_parts, weed, own_prefix):
    weed.client().create_multipart_upload(Bucket=weed.bucket, Key=f"{own_prefix}/theirs")
    store.write("large", bytes(small_parts + 1))
    assert uploads(weed, own_prefix) == [f"{own_prefix}/theirs"]


# --- what is not there --------------------------------------------------------------------------------------------


def test_what_is_not_there_needs_no_second_look(store, proxy):
    store.write("k", b"")
    before = len(proxy.requests)
    assert not store.exists("nothing")
    with pytest.raises(NotFoundError):
        store.read("nothing")
    assert len(proxy.requests) == before + 2
