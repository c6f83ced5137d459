"""What ssh says, in words for people; and which ports of this computer a tunnel takes."""

from __future__ import annotations

import contextlib
import socket

import pytest

from dstack_core._cli.way import PortTakenError, RefusedError, explain
from dstack_core._runner.ports import hold_port
from dstack_core.backend import Address
from dstack_core.errors import CredentialsError, ReachError

THERE = Address("203.0.113.7", 2222)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("Host key verification failed.\n", CredentialsError, "203.0.113.7:2222 is not the machine of the run"),
        ("No ED25519 host key is known for 0-ab and you asked for strict checking.\n", CredentialsError, "host key"),
        ("root@203.0.113.7: Permission denied (publickey).\n", RefusedError, "does not take this computer's key"),
        ("bind [127.0.0.1]:80: Address already in use\nCould not request local forwarding.\n", PortTakenError, "here"),
        ("ssh: connect to host 203.0.113.7 port 2222: Connection timed out\n", ReachError, "Connection timed out"),
        ("Timeout, server 203.0.113.7 not responding.\n", ReachError, "not responding"),
        ("", ReachError, "cannot be reached at 203.0.113.7:2222"),
    ],
)  # fmt: skip
def test_what_ssh_says_in_words(said, kind, words):
    error = explain(said, THERE)
    assert type(error) is kind
    assert words in error.message


def test_a_port_that_somebody_has_is_not_taken():
    with contextlib.ExitStack() as held:
        theirs = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        first = hold_port((theirs, 0), held)
        assert first not in (0, theirs)
        assert hold_port((first, 0), held) not in (0, first), "nor one that is taken for another"
        assert hold_port((theirs,), held) is None
