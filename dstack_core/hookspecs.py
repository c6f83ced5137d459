"""Every hook, grouped by the moment at which dstack calls it.

A plugin is a module that an entry point in the group `dstack.plugins` names. It implements some of these hooks:

    from dstack_core.hookspecs import Entry, hookimpl

    @hookimpl
    def dstack_providers():
        return [Entry("bash", "Runs shell commands", load)]

There are two kinds, never mixed. *Capabilities* return entries; exactly one entry is chosen by its name; a clash of
names is an error that names both packages. *Observers* are told; what they return is ignored; what they raise is
logged with the plugin's name and changes nothing.

An implementation may take any subset of a hook's arguments, so a new argument breaks no plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import pluggy

if TYPE_CHECKING:
    import click
    from pydantic import BaseModel

    from dstack_core.artifact_store import ArtifactStore
    from dstack_core.backend import Backend
    from dstack_core.executor import Executor
    from dstack_core.models import JobEvent, RunEvent
    from dstack_core.provider import Provider
    from dstack_core.secret_store import SecretStore

PROJECT: Final = "dstack"
GROUP: Final = "dstack.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

T = TypeVar("T")
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One capability that a plugin offers.

    Attributes:
        name: what users write: in YAML, in config, on the command line. Lower case, digits, dashes.
        summary: one line for `dstack plugins` and `--help`.
        load: imports the implementation and returns it: for a command the `click.Command`, for everything else a
            factory (usually the class). Called only when this entry was chosen, so heavy imports belong inside it.
        settings: imports and returns the pydantic model of what users can set (`dstack_core.settings`); None: nothing.
            Called only when something is set. Entries of one name have one model.
        unneeded: whether machines that are other computers do without a file, of all that the plugin's distribution
            needs: called with the name of a distribution (`pluggy`) and a file's path in it (`pluggy/_hooks.py`). They
            are not sent such files, unless another plugin needs them, too. None: they need all.
    """

    name: str
    summary: str
    load: Callable[[], T]
    settings: Callable[[], type[BaseModel]] | None = None
    unneeded: Callable[[str, str], bool] | None = None


# --- capabilities: asked once, when a name has to be resolved -------------------------------------------------------


@hookspec
def dstack_providers() -> Sequence[Entry[Callable[[], Provider]]]:
    """Providers: what may stand behind `provider:` in a workflow.

    Called: when a workflow with a provider of that name is planned, and by `dstack plugins`.
    Return: entries whose `load()` gives a factory of `Provider` without arguments.
    If it raises: the plugin is reported as failed; a workflow that needs it fails with that reason.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_providers():
            def load():
                from dstack_provider_bash.provider import BashProvider
                return BashProvider
            return [Entry("bash", "Runs shell commands", load)]
    """
    raise NotImplementedError


@hookspec
def dstack_backends() -> Sequence[Entry[Callable[[Settings], Backend]]]:
    """Backends: where machines come from.

    Called: when a run needs a machine, or a machine's record is looked at.
    Return: entries whose `load()` gives a factory of `Backend` that takes its settings.
    If it raises: the plugin is reported as failed; a command that needs it fails with that reason.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_backends():
            def load():
                from dstack_local.backend import LocalBackend
                return LocalBackend
            return [Entry("local", "This machine", load)]
    """
    raise NotImplementedError


@hookspec
def dstack_artifact_stores() -> Sequence[Entry[Callable[[Settings], ArtifactStore]]]:
    """Artifact stores: where code, artifacts, logs and records are kept.

    Called: by every command that looks at runs.
    Return: entries whose `load()` gives a factory of `ArtifactStore` that takes its settings.
    If it raises: the plugin is reported as failed; a command that needs it fails with that reason.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_artifact_stores():
            def load():
                from dstack_local.store import FolderStore
                return FolderStore
            return [Entry("local", "A folder of this machine", load)]
    """
    raise NotImplementedError


@hookspec
def dstack_secret_stores() -> Sequence[Entry[Callable[[Settings], SecretStore]]]:
    """Secret stores: where the values of `${{ secrets.NAME }}` are kept.

    Called: by the runner when a job uses a secret.
    Return: entries whose `load()` gives a factory of `SecretStore` that takes its settings.
    If it raises: the plugin is reported as failed; a job that uses a secret fails with that reason.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_secret_stores():
            return [Entry("vault", "HashiCorp Vault", lambda: VaultSecretStore)]
    """
    raise NotImplementedError


@hookspec
def dstack_executors() -> Sequence[Entry[Callable[[Settings], Executor]]]:
    """Executors: how a runner runs one job on its machine.

    Called: by the runner, once for each executor that a job names.
    Return: entries whose `load()` gives a factory of `Executor` that takes its settings.
    If it raises: the plugin is reported as failed; a job that needs it fails with that reason.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_executors():
            def load():
                from dstack_local.process import ProcessExecutor
                return ProcessExecutor
            return [Entry("process", "A process with an environment of its own", load)]
    """
    raise NotImplementedError


@hookspec
def dstack_commands() -> Sequence[Entry[click.Command]]:
    """Commands of the `dstack` program. Core's own come through this hook too.

    Called: when `dstack NAME` is not one of core's commands; the plugin's entry point must have the command's name,
        so that one plugin is imported and no other.
    Return: entries whose `load()` gives a `click.Command`.
    If it raises: the plugin is reported as failed; other commands work.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_commands():
            def load():
                from dstack_cost.command import cost
                return cost
            return [Entry("cost", "Shows what runs have cost", load)]
    """
    raise NotImplementedError


# --- settings of observers ------------------------------------------------------------------------------------------


@hookspec
def dstack_observer_settings() -> type[BaseModel]:
    """The pydantic model of what users can set of this plugin's observers, as `Entry.settings` is a capability's.

    Called: before the plugin's observers, when something is set for the plugin; and by `dstack config`.
    Return: the model; see `dstack_core.settings`. Import it inside, for pydantic is slow to import.
    If it raises: the plugin is reported as failed; its observers are not told.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_observer_settings():
            from dstack_notify.settings import NotifySettings
            return NotifySettings
    """
    raise NotImplementedError


# --- observers: told while a run goes on, never in a command's process -----------------------------------------------


@hookspec
def dstack_run_started(event: RunEvent, settings: Settings) -> None:
    """A runner began to work on a run.

    Called: by the runner, once per runner, after its machine is registered.
    Arguments: `event`: the run, its target workflow, status and time. `settings`: what the user set of the plugin.
    Return: ignored.
    If it raises: the exception is logged with the plugin's name; the run goes on.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_run_started(event):
            post(f"{event.run} started")
    """


@hookspec
def dstack_job_changed(event: JobEvent, settings: Settings) -> None:
    """A job's status changed.

    Called: by the runner, after the change is in the store.
    Arguments: `event`: run, job, new status, attempt, time, and the exit code of a finished attempt. `settings`: what
        the user set of the plugin.
    Return: ignored.
    If it raises: the exception is logged with the plugin's name; the job goes on.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_job_changed(event):
            if event.status == "failed":
                post(f"{event.job} of {event.run} failed with {event.exit_code}")
    """


@hookspec
def dstack_run_finished(event: RunEvent, settings: Settings) -> None:
    """A run reached its last status.

    Called: by whoever recorded it: the runner, or a process that the command starts which found the last job finished
        (what is written there goes to `plugins.log` in `$DSTACK_HOME`). At most once.
    Arguments: `event`: the run, its target workflow, last status and time. `settings`: what the user set of the
        plugin.
    Return: ignored.
    If it raises: the exception is logged with the plugin's name; the status stays.
    Since: 0.1.

    Example:
        @hookimpl
        def dstack_run_finished(event):
            post(f"{event.run}: {event.status}")
    """
