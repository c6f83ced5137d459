"""Secrets do not show, in any form, however they are split; what is no secret does."""

from __future__ import annotations

import base64
import json
import urllib.parse
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstack_core._content.logs import LogReader, LogWriter
from dstack_core._content.masking import SHOWN, Masker, forms


def masked(secrets: list[bytes], *pieces: bytes) -> bytes:
    masker = Masker(secrets)
    return b"".join([*(masker.feed(p) for p in pieces), masker.flush()])


SECRET = b'pa$$ w/ord+"&\xc3\xa9'
FORMS = [
    SECRET,
    base64.b64encode(SECRET),
    base64.urlsafe_b64encode(SECRET),
    base64.b64encode(b"user:" + SECRET + b"!"),
    base64.b64encode(b"u:" + SECRET),
    base64.b64encode(b"us:" + SECRET + b"12"),
    urllib.parse.quote(SECRET).encode(),
    urllib.parse.quote(SECRET, safe="").encode(),
    urllib.parse.quote_plus(SECRET).encode(),
    json.dumps(SECRET.decode()).encode(),
    json.dumps(SECRET.decode(), ensure_ascii=False).encode(),
    json.dumps(SECRET.decode()).replace("&", "\\u0026").encode(),
]


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_secret_shows(form):
    shown = masked([SECRET], b"before " + form + b" after")
    assert shown.startswith(b"before ")
    assert shown.endswith(b" after")
    assert SHOWN in shown
    # At most the neighbours' bits are left of base64.
    assert len(shown) <= len(b"before dXNlcjp*** after") + 3


@settings(max_examples=200, deadline=None)
@given(
    secrets=st.lists(st.binary(min_size=4, max_size=12), min_size=1, max_size=3),
    parts=st.lists(st.one_of(st.binary(max_size=8), st.integers(0, 2)), max_size=8),
    cuts=st.lists(st.integers(0, 100), max_size=6),
)
def test_cuts_make_no_difference(secrets, parts, cuts):
    data = b"".join(p if isinstance(p, bytes) else secrets[p % len(secrets)] for p in parts)
    places = sorted({0, *(c % (len(data) + 1) for c in cuts), len(data)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    whole = masked(secrets, data)
    assert masked(secrets, *pieces) == whole
    assert not any(s in whole for s in secrets if s not in SHOWN and SHOWN not in s and s.strip(b"*") == s)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_other_bytes_are_not_touched(data):
    secret = b"correct horse battery"
    if not any(f in data for f in forms([secret])):
        assert masked([secret], data) == data


def test_each_line_of_a_key_is_a_secret_and_short_ones_are_not():
    key = b"-----BEGIN-----\nabcdefgh\nxyz\n-----END-----\n"
    assert masked([key], b"line: abcdefgh, xyz\n") == b"line: ***, xyz\n"
    assert masked([b"abc"], b"abcabc") == b"abcabc"
    assert masked([], b"all of it") == b"all of it"


def test_a_long_secret_alone_in_base64_of_several_lines():
    secret = bytes(range(33, 127)) * 2
    for newline in (b"\n", b""):
        assert masked([secret], b"a " + base64.encodebytes(secret).replace(b"\n", newline)) == b"a ***" + newline


def test_as_javascript_encodes_a_url():
    assert masked([b"it's (a) *secret*!"], b"u=it's%20(a)%20*secret*!&v") == b"u=***&v"


def test_a_secret_of_several_lines_as_one_text():
    key = b"-----BEGIN-----\nabcdefgh\nxyz\n-----END-----\n"
    assert masked([key], b"<" + json.dumps(key.decode())[1:-1].encode() + b">") == b"<***>"
    assert masked([key], b"<" + urllib.parse.quote(key).encode() + b">") == b"<***>"
    assert b"abcd" not in masked([key], base64.b64encode(key))


def test_little_is_held_back():
    masker = Masker([b"secret-token"])
    assert masker.feed(b"progress 10% s") == b"progress 10% "
    assert masker.feed(b"o on") == b"so on"
    assert masker.feed(b"secret-tok") == b""
    assert masker.feed(b"en!") == b"***!"


def test_a_secret_that_another_begins_with():
    assert masked([b"abcd", b"abcdefgh"], b"abcd", b"efgh abcd ef") == b"*** *** ef"


def test_logs_are_masked_before_they_reach_disk(memory_store, home):
    secret = b"hunter2hunter2"
    memory_store.fail = 3
    writer = LogWriter(memory_store, "logs/a", mask=[secret])
    for i in range(0, len(secret), 3):
        writer.write("o", secret[i : i + 3])
        writer.write("e", b"%d\n" % i)
    writer.write("o", b" and hunter")
    writer.close(0)
    entries = list(LogReader(memory_store, "logs/a").read_all())
    assert b"".join(e.data for e in entries if e.stream == "o") == b"*** and hunter"
    assert not any(secret in data for data in memory_store.objects.values())


def test_a_mask_may_be_a_function(memory_store):
    writer = LogWriter(memory_store, "logs/a", mask=lambda data: data.replace(b"a", b"b"))
    writer.write("o", b"banana")
    writer.close(0)
    assert next(LogReader(memory_store, "logs/a").read_all()).data == b"bbnbnb"
