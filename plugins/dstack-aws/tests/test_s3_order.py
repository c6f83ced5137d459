"""Listings are in the order of the keys' bytes, whatever the server's order is; and other things without a server."""

from __future__ import annotations

from typing import Any

import pytest
from dstack_aws import s3_listing
from dstack_aws.s3_listing import list_objects
from dstack_aws.s3_order import in_byte_order
from dstack_aws.s3_store import S3Store
from dstack_aws.secret_names import folder, names_in
from dstack_aws.settings import S3Settings
from hypothesis import given
from hypothesis import strategies as st

from dstack_core.artifact_store import ObjectInfo
from dstack_core.errors import InputError
from dstack_core.settings import check_settings


def by_bytes(key: str) -> str:
    return key


def by_folders(key: str) -> str:
    return key.replace("/", "\0")


orders = pytest.mark.parametrize("order", [by_bytes, by_folders])
segments = st.text("a-.b0", min_size=1, max_size=3).filter(lambda s: s not in (".", ".."))
keys = st.lists(segments, min_size=1, max_size=4).map("/".join)


def without_folders_that_are_keys(found: set[str]) -> list[str]:
    folders = {key[:i] for key in found for i, c in enumerate(key) if c == "/"}
    return [key for key in found if key not in folders]


class Listed:
    """A bucket whose server has these keys, in its order."""

    prefix = ""
    on_aws = False

    def __init__(self, server_order: list[str]) -> None:
        self.order = server_order


@orders
@given(st.sets(keys, max_size=30), keys, st.sampled_from(["", "a/", "a-/"]))
def test_any_listing_from_any_key_is_in_order(order, found, after, prefix):
    stored = sorted(without_folders_that_are_keys(found), key=order)

    def server(bucket: Any, prefix: str, start: str) -> list[ObjectInfo]:
        return [ObjectInfo(k, 0, "") for k in stored if k.startswith(prefix) and order(k) > order(start)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_listing, "_found", server)
        got = [info.key for info in list_objects(Listed(stored), prefix, after)]  # type: ignore[arg-type]
    assert got == sorted(key for key in stored if key.startswith(prefix) and key > after)


def test_a_listing_without_folders_is_not_held_back():
    taken = []

    def server():
        for n in range(1000):
            taken.append(n)
            yield ObjectInfo(f"index/{n:04}-x", 0, "")

    assert next(in_byte_order(server(), "index/")).key == "index/0000-x"
    assert len(taken) == 1


@given(st.text(min_size=1), st.text(min_size=1))
def test_repositories_have_folders_of_their_own(one, other):
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+=.@-")
    assert set(folder("dstack", one)) <= allowed
    assert (folder("dstack", one) == folder("dstack", other)) == (one == other)
    full = [folder("dstack", one) + "NAME"]
    assert names_in(folder("dstack", other), full) == (["NAME"] if one == other else [])


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"bucket": "b-1", "prefix": "a/b"}, "s3://b-1/a/b"),
        ({"bucket": "b-1"}, "s3://b-1"),
        ({"bucket": "b-1", "endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/b-1"),
    ],
)
def test_its_location_names_server_bucket_and_prefix(given, place):
    assert S3Store(given).location == place


def test_the_sdk_s_own_variable_for_the_server_counts(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9001")
    assert S3Store({"bucket": "b-1"}).location == "http://127.0.0.1:9001/b-1"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"bucket": "A_B"}, "3 to 63 lower-case letters"),
        ({"endpoint_url": "minio:9000"}, "a URL like"),
        ({"endpoint_url": "http://k:s@minio"}, "no credentials in it"),
        ({"expected_bucket_owner": "me"}, "pattern"),
        ({"prefix": "a b"}, "pattern"),
        ({"encryption": "rot13"}, "AES256"),
        ({"buckett": "x"}, "buckett"),
    ],
)
def test_settings_are_checked(wrong, why):
    with pytest.raises(InputError, match=why):
        check_settings("s3", S3Settings, {"bucket": "bucket", **wrong})
