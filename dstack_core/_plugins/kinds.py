"""The kinds of capability: which hook offers them, and what must come out."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from dstack_core.hookspecs import Entry


class Kind(NamedTuple):
    """One kind of capability.

    Attributes:
        name: one word or two for people and for `--json`, e.g. `artifact store`.
        hook: the hook that offers entries of this kind.
        contract: `module:Class` of the abstract class that a factory's product must have; imported when needed.
    """

    name: str
    hook: str
    contract: str
    prefix: str = "dstack-"

    def contract_class(self) -> type:
        """The abstract class itself."""
        module, _, name = self.contract.partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found


PROVIDER: Final = Kind("provider", "dstack_providers", "dstack_core.provider:Provider", "dstack-provider-")
BACKEND: Final = Kind("backend", "dstack_backends", "dstack_core.backend:Backend")
ARTIFACT_STORE: Final = Kind("artifact store", "dstack_artifact_stores", "dstack_core.artifact_store:ArtifactStore")
SECRET_STORE: Final = Kind("secret store", "dstack_secret_stores", "dstack_core.secret_store:SecretStore")
EXECUTOR: Final = Kind("executor", "dstack_executors", "dstack_core.executor:Executor")
COMMAND: Final = Kind("command", "dstack_commands", "click:Command")
KINDS: Final = (PROVIDER, BACKEND, ARTIFACT_STORE, SECRET_STORE, EXECUTOR, COMMAND)
OBSERVERS: Final = ("dstack_run_started", "dstack_job_changed", "dstack_run_finished")


def entries_in(answers: Iterable[Any], kind: Kind) -> list[Entry[Any]]:
    """The entries among a hook's answers.

    Raises:
        ValueError: an answer is not a list of `Entry` with proper fields; the message is for the plugin's author.
    """
    entries: list[Entry[Any]] = []
    for answer in answers:
        if isinstance(answer, (str, bytes, Entry)) or not isinstance(answer, Iterable):
            raise ValueError(f"`{kind.hook}` must return a list of Entry, not {type(answer).__name__}")
        for entry in answer:
            if not isinstance(entry, Entry):
                raise ValueError(f"`{kind.hook}` must return a list of Entry; it has an item of {type(entry).__name__}")
            proper = isinstance(entry.name, str) and isinstance(entry.summary, str) and callable(entry.load)
            if not proper or not (entry.settings is None or callable(entry.settings)):
                raise ValueError(f"`{kind.hook}` returned a malformed Entry: {entry!r}")
            entries.append(entry)
    return entries


def lacks(kind: Kind, loaded: Any) -> str | None:
    """What keeps a loaded capability from being one of `kind`, seen without making it; None: nothing."""
    contract = kind.contract_class()
    if kind is COMMAND:
        return None if isinstance(loaded, contract) else f"is no {kind.contract.replace(':', '.')}"
    if not callable(loaded):
        return f"loads to {type(loaded).__name__}, which cannot be called to make a {contract.__name__}"
    if isinstance(loaded, type):
        missing = sorted(getattr(loaded, "__abstractmethods__", ()))
        if not missing and not issubclass(loaded, contract):
            missing = sorted(n for n in getattr(contract, "__abstractmethods__", ()) if not hasattr(loaded, n))
        if missing:
            return f"lacks {', '.join(f'`{name}`' for name in missing)} of {contract.__name__}"
    return None
