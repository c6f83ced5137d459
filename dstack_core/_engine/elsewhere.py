"""What a machine that is another computer is told: its bundle, its config, and how long it lives."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, Final

from dstack_core import settings
from dstack_core._config.reading import LIMITS, Config
from dstack_core._engine.bundle import LINK, VARIABLE, linked, stored_bundle
from dstack_core._engine.parts import Part, core
from dstack_core._engine.remote import Remote
from dstack_core._ledger.identity import store_id
from dstack_core._ledger.machines import CANNOT, report_key
from dstack_core._plugins import kinds
from dstack_core._plugins.kinds import Kind
from dstack_core._plugins.registry import Plugins
from dstack_core.artifact_store import ArtifactStore, SupportsLinks
from dstack_core.errors import NotFoundError
from dstack_core.models import Launch

KIND: Final = "DSTACK_KIND"
"""Environment of a runner on such a machine: its kind."""


class Elsewhere:
    """Turns launches into those of machines that are other computers. What they share is made once.

    Attributes:
        kind: a digest of that: machines of one kind can stand in for each other.

    Raises:
        InputError, PluginError, StoreError: from its making, for reasons of `stored_bundle` and of the plugins.
    """

    def __init__(self, store: ArtifactStore, plugins: Plugins, remote: Remote) -> None:
        parts = list(_parts(plugins, remote))
        self._store = store
        self._store_id = store_id(store)
        self._limits = remote.limits
        self._bundle = stored_bundle(store, [core(), *(part for part, _ in parts)])
        self._config = json.dumps(_config(remote, {part.name: told for part, told in parts if told}))
        about = f"{self._bundle.digest} {self._config}"
        self.kind = os.environ.get(KIND) or hashlib.sha256(about.encode()).hexdigest()[:32]

    def launch(self, machine: str, run: str, argv: tuple[str, ...], env: dict[str, str]) -> Launch:
        """The launch of a machine whose record is in the store."""
        assert isinstance(self._store, SupportsLinks)  # else there would be no bundle
        return Launch(
            machine,
            run,
            argv,
            {**env, VARIABLE: f"{self._bundle.digest} {self._bundle.size}", KIND: self.kind},
            linked(self._store, self._bundle),  # whoever follows a run may launch machines for days
            self._config,
            self._limits.lease,
            self._limits.max_duration,
            self._store.link(report_key(run, machine), LINK, write=True),
            self._store_id,
        )


def report(store: ArtifactStore, run: str, machine: str) -> str | None:
    """Why a machine ended without a runner: what that could not get over, else what the machine said last; None if it
    said nothing."""
    try:
        lines = store.read(report_key(run, machine)).data.decode(errors="replace").strip().splitlines()
    except NotFoundError:
        return None
    said = [line.removeprefix("dstack: ") for line in lines if line.startswith("dstack: ")]
    reasons = [line.removeprefix(CANNOT) for line in said if line.startswith(CANNOT)]
    return (reasons or said or lines or ["nothing"])[-1]


def _parts(plugins: Plugins, remote: Remote) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Each plugin that a machine needs, and the settings that machines are told."""
    names: list[tuple[Kind, str | None]] = [
        (kinds.BACKEND, remote.backend),
        (kinds.ARTIFACT_STORE, remote.artifact_store),
        (kinds.SECRET_STORE, remote.secret_store),
        (kinds.EXECUTOR, remote.container_executor),
    ]
    for kind, name in names:
        if name:
            distribution, model, unneeded = plugins.origin(kind, name)
            told: dict[str, Any] = {}
            if model is not None:
                given = {**remote.settings_of(name), **settings.from_environment(name, model)}
                fields = settings.fields(model)
                told = {n: v for n, v in given.items() if n not in fields or settings.is_for_machines(fields[n])}
            yield Part(distribution, name, unneeded), told


def _config(remote: Remote, told: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of this remote alone. Every job there runs in a container."""
    written = Config.read().limits(remote.name)
    return {
        "remotes": {
            remote.name: {
                "backend": remote.backend,
                "artifact_store": remote.artifact_store,
                "secret_store": remote.secret_store,
                "executor": remote.container_executor,
                "container_executor": remote.container_executor,
                **{name: written[name] for name in LIMITS if name in written},
                "settings": told,
            }
        }
    }
