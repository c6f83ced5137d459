"""Who may come to a run's machines, and where these are entered: public keys, and a machine's own.

    runs/<run>/keys/<fingerprint>     a public key; whoever may write it may start jobs there anyway
    runs/<run>/entrances/<machine>    written by the machine

Nothing of it is secret, and both go with the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass, replace
from typing import Final

from dstack_core._ledger import documents
from dstack_core._ledger.keys import segment
from dstack_core._ledger.records import FINISHED, RunRecord
from dstack_core._ledger.runs import run_key
from dstack_core.artifact_store import ABSENT, ArtifactStore
from dstack_core.errors import ConflictError, NotFoundError

_KEY: Final = re.compile(r"(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}(?= |\Z)")
"""The beginning of a public key as OpenSSH writes it: no options before it, which might let more happen."""
LONGEST: Final = 8192
"""Bytes of a public key that is none too long."""


@dataclass(frozen=True)
class Entrance:
    """Where a machine of a run is entered by SSH.

    Attributes:
        port: at which its SSH server listens, on all of its addresses.
        host_key: the server's public key, made on the machine: `ssh-ed25519 AAAA...`.
        user: who one is there.
        home: its dstack folder.
        python: the interpreter that has dstack there.
        remote: what its runner calls the remote.
    """

    machine: str
    port: int
    host_key: str
    user: str
    home: str
    python: str
    remote: str


def entrance_key(run: str, machine: str) -> str:
    """Where a machine's entrance is written."""
    return f"runs/{segment(run)}/entrances/{machine}"


def announce(store: ArtifactStore, run: str, entrance: Entrance) -> None:
    """Write where a machine is entered. Only its runner does."""
    key = entrance_key(run, entrance.machine)
    try:
        documents.create(store, key, entrance)
    except ConflictError:  # the runner before this one did
        documents.update(store, Entrance, key, lambda old: None if old == entrance else entrance)


def find_entrance(store: ArtifactStore, run: str, machine: str) -> Entrance | None:
    """Where a machine is entered; None while it is not."""
    try:
        return documents.read(store, Entrance, entrance_key(run, machine)).value
    except NotFoundError:
        return None


def admit(store: ArtifactStore, run: str, public_key: str) -> None:
    """Let the owner of a key come to the run's machines, which hear of it by the run's record: they read that anyway.

    Who dies before that is written is let in when they look for keys, now and then.
    """
    key = public_key.strip()
    with contextlib.suppress(ConflictError):  # admitted already
        store.write(f"{_prefix(run)}{hashlib.sha256(key.encode()).hexdigest()[:32]}", key.encode(), ABSENT)
        with contextlib.suppress(NotFoundError):
            documents.update(store, RunRecord, run_key(run), _called)


def _called(run: RunRecord) -> RunRecord | None:
    return None if run.status in FINISHED else replace(run, callers=run.callers + 1)


def admitted(store: ArtifactStore, run: str) -> frozenset[str]:
    """Names of the keys that may come. A look costs one listing."""
    return frozenset(info.key for info in store.list(_prefix(run)))


def public_key(store: ArtifactStore, name: str) -> str | None:
    """The key of that name, without comment; None if there is none that could be one."""
    try:
        data = store.read(name).data[:LONGEST]
    except NotFoundError:
        return None
    found = _KEY.match(data.decode("ascii", "replace"))
    return found[0] if found else None


def _prefix(run: str) -> str:
    return f"runs/{segment(run)}/keys/"
