"""`dstack secrets`: values come by stdin or a hidden prompt, and are shown to nobody."""

from __future__ import annotations

import io
import sys

import pytest
from dstack_local.secret_file import FileSecretStore

from dstack_core._cli.context import Context

from .conftest import REPO

CANARY = "c4n4ry-v4lu3"


@pytest.fixture
def secrets(project):
    return FileSecretStore({})


@pytest.fixture
def given(monkeypatch):
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return given


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"abcd", "abcd"),
        (b"abcd\n", "abcd"),
        (b"abcd\r\n", "abcd"),
        (b"a\nb c\n\n", "a\nb c\n"),
        (b" \xc3\xa4\n", " ä"),
    ],
)
def test_add_from_stdin(dstack, secrets, given, data, value):
    given(data)
    done = dstack("secrets", "add", "NAME")
    assert (done.code, done.out) == (0, "NAME: added\n")
    assert secrets.get(REPO, "NAME") == value


def test_list_and_json_have_names_only(dstack, secrets):
    assert dstack("secrets").out.startswith(f"No secrets of {REPO} yet. Add one with: dstack secrets add NAME")
    assert dstack("secrets", "--json").json == []
    secrets.put(REPO, "B", CANARY)
    secrets.put(REPO, "A", CANARY)
    secrets.put("bob/other", "C", CANARY)
    assert dstack("secrets").out.split() == ["NAME", "A", "B"]
    assert dstack("secrets", "list", "--json").json == [{"name": "A", "repo": REPO}, {"name": "B", "repo": REPO}]


def test_add_replaces_nothing_and_update_adds_nothing(dstack, secrets, given):
    given(b"first")
    dstack("secrets", "add", "NAME")
    given(b"second")
    refused = dstack("secrets", "add", "NAME")
    assert refused.code == 73
    assert "dstack secrets update NAME" in refused.err
    assert secrets.get(REPO, "NAME") == "first"
    assert dstack("secrets", "update", "NAME").out == "NAME: updated\n"
    assert secrets.get(REPO, "NAME") == "second"
    missing = dstack("secrets", "update", "NAM")
    assert missing.code == 66
    assert "did you mean NAME?" in missing.err


def test_delete_asks(dstack, secrets):
    secrets.put(REPO, "NAME", CANARY)
    assert dstack("secrets", "delete", "NAME").code == 2
    assert dstack("secrets", "delete", "NAME", "-y").out == "NAME: deleted\n"
    assert list(secrets.list(REPO)) == []
    assert dstack("secrets", "delete", "NAME", "-y").code == 66


@pytest.mark.parametrize("data", [b"", b"\n", b"a\0b", b"\xff\xfe"])
def test_values_that_cannot_be(dstack, secrets, given, data):
    given(data)
    assert dstack("secrets", "add", "NAME").code == 65
    assert list(secrets.list(REPO)) == []


@pytest.mark.parametrize("name", ["", "1A", "A-B", "a b", "Ä", "x" * 101, f"NAME={CANARY}", "A.B"])
def test_names_that_cannot_be(dstack, secrets, given, name):
    given(b"value")
    done = dstack("secrets", "add", name)
    assert done.code == 65
    assert CANARY not in done.err


@pytest.mark.parametrize("command", ["add", "update"])
def test_a_value_as_argument_is_refused_and_not_repeated(dstack, secrets, given, command):
    given(b"value")
    secrets.put(REPO, "THERE", "x")
    done = dstack("secrets", command, "THERE", CANARY)
    assert done.code == 2
    assert "never an argument" in done.err
    assert CANARY not in done.out + done.err


def test_a_secret_that_is_too_short_to_be_masked_is_a_warning(dstack, secrets, given):
    given(b"abc")
    done = dstack("secrets", "add", "NAME")
    assert done.code == 0
    assert "logs will show it" in done.err


def test_repositories_have_secrets_of_their_own(dstack, secrets, given, monkeypatch):
    given(b"ours")
    dstack("secrets", "add", "NAME")
    monkeypatch.setattr(Context, "repo", "bob/other")
    assert dstack("secrets", "--json").json == []
    assert dstack("secrets", "delete", "NAME", "-y").code == 66


def test_without_a_store(dstack, project, monkeypatch):
    from dstack_core._engine.remote import Remote

    monkeypatch.setattr(Context, "remote", Remote("local", "local", "local", "process"))
    assert dstack("secrets").code == 65
