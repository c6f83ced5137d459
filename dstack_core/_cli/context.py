"""What commands need: plugins, the remote, its store and backend. Each made when first asked for."""

from __future__ import annotations

import copy
import functools
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dstack_core._cli.session import session_of
from dstack_core.errors import PluginError

if TYPE_CHECKING:
    from dstack_core._engine.engine import Engine
    from dstack_core._engine.executors import Executors
    from dstack_core._engine.remote import Remote
    from dstack_core._engine.view import RunView
    from dstack_core._plugins.registry import Plugins
    from dstack_core._workflow.own import OwnProperties
    from dstack_core._workflow.raw import RawWorkflow
    from dstack_core.artifact_store import ArtifactStore
    from dstack_core.backend import Backend
    from dstack_core.models import JobEvent, RunEvent


class Context:
    """One invocation of `dstack`."""

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins
        self._all: dict[str | None, Context] = {None: self}
        self._properties: dict[str, OwnProperties] = {}
        self._offline: bool | None = None

    def at(self, remote: str | None) -> Context:
        """The same invocation, with the remote of that name. Empty: the user's default one; None: this machine.

        Raises:
            InputError: the config is broken, or the name is empty and there is no default.
            NotFoundError: there is no such remote.
        """
        from dstack_core._engine.remote import DEFAULT, find_remote

        if remote in self._all:
            return self._all[remote]
        found = find_remote(remote)
        name = None if found.name == DEFAULT.name else found.name
        if name not in self._all:
            other = copy.copy(self)
            for made in ("remote", "store", "backend", "executors", "engine"):
                other.__dict__.pop(made, None)
            other.__dict__["remote"] = found
            self._all[name] = other
        return self._all[name]

    def everywhere(self) -> Iterator[Context]:
        """Here, then with each remote of the user's, unless this is `offline`. Raises InputError when the config is
        broken."""
        from dstack_core._engine.remote import remote_names

        for name in remote_names()[: 1 if self.offline else None]:
            yield self.at(name)

    def properties(self, provider: str, workflow: RawWorkflow | None = None) -> OwnProperties:
        """The provider of that name and what its own properties are; one object a command.

        Raises:
            PluginError: it cannot be had; the place is where `workflow` names it.
        """
        if provider not in self._properties:
            from dstack_core._workflow.memory import Memory
            from dstack_core._workflow.own import OwnProperties

            try:
                made = self.plugins.provider(provider)
            except PluginError as error:
                error.where = error.where or (workflow.locate(("provider",)) if workflow else None)
                raise
            self._properties[provider] = OwnProperties(made, Memory.of(made), name=provider)
        return self._properties[provider]

    def remember(self) -> None:
        """Keep what was learned of providers: the next command need not ask them again."""
        for own in self._properties.values():
            own.remember()

    @property
    def offline(self) -> bool:
        """Whether only those remotes are asked that the user names. Raises InputError when the config is broken."""
        from dstack_core._config.reading import Config

        if self._offline is None:
            self._offline = os.environ.get("DSTACK_OFFLINE", "") not in ("", "0") or Config.read().offline
        return self._offline

    def go_offline(self) -> None:
        """Ask no remote that the user does not name, whatever the config says."""
        self._offline = True

    @property
    def is_home(self) -> bool:
        """Whether this is of the machine that the command runs on. A command goes on without any other remote."""
        from dstack_core._engine.remote import DEFAULT

        return self.remote.name == DEFAULT.name

    @functools.cached_property
    def remote(self) -> Remote:
        """The one that is meant: `local`, unless this came from `at`. Raises InputError when the config is broken."""
        from dstack_core._engine.remote import find_remote

        return find_remote()

    @functools.cached_property
    def store(self) -> ArtifactStore:
        """The remote's artifact store. Raises PluginError."""
        name = self.remote.artifact_store
        return self.plugins.artifact_store(name, self.remote.settings_of(name))

    @functools.cached_property
    def backend(self) -> Backend:
        """The remote's backend. Raises PluginError."""
        return self.plugins.backend(self.remote.backend, self.remote.settings_of(self.remote.backend))

    @functools.cached_property
    def executors(self) -> Executors:
        """The remote's executors."""
        from dstack_core._engine.executors import Executors
        from dstack_core._engine.remote import DEFAULT, contained

        distant = self.remote.backend != DEFAULT.backend and self.backend.distant
        return Executors(self.plugins, contained(self.remote) if distant else self.remote)

    @functools.cached_property
    def project(self) -> Path:
        """The folder with `.dstack/`, or what comes nearest to it."""
        from dstack_core._workflow.project import find_project

        return find_project(Path.cwd())

    @functools.cached_property
    def repo(self) -> str:
        """`OWNER/REPO` of the project."""
        from dstack_core._content.gitrepo import find_repository, repository_name

        root = os.fsencode(self.project)
        return repository_name(find_repository(root), root)

    @functools.cached_property
    def user(self) -> str:
        """Who runs: DSTACK_USER, else the login name."""
        return os.environ.get("DSTACK_USER") or getpass.getuser()

    @functools.cached_property
    def engine(self) -> Engine:
        """For `advance`."""
        from dstack_core._engine.engine import Engine

        return Engine(self.store, self.backend, self.remote, self.executors, self._tell)

    def advance(self, run: str) -> RunView:
        """The run, after whatever could be repaired or begun for it was."""
        from dstack_core._engine.advance import advance
        from dstack_core._engine.view import RunView

        view = RunView(self.store, run)
        if not view.finished:
            advance(self.engine, view)
        return view

    def _tell(self, event: JobEvent | RunEvent) -> None:
        """Observers are told by runners. A command that finds a run's end has them told, too."""
        from dstack_core.models import RunEvent

        if isinstance(event, RunEvent):
            from dstack_core._plugins.messenger import run_finished

            run_finished(self.plugins, event)


def context() -> Context:
    """The context of the command that runs now."""
    current = click.get_current_context()
    known = current.find_object(Context)
    if known is None:
        known = current.meta.get(__name__) or Context(session_of(current).plugins)
        current.meta[__name__] = known
    return known
