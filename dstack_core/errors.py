"""The errors that a person reads.

Every error says what failed, where, and what to do next. `owner` says whose it is, so that nobody hunts for a
mistake of theirs when a cloud had no capacity. Only `dstack_core._cli` turns an error into an exit code.
"""

from __future__ import annotations

from typing import ClassVar


class DstackError(Exception):
    """Base of every error that dstack raises on purpose.

    Attributes:
        message: what failed, one sentence, no full stop needed.
        hint: what to do next, preferably a command to type.
        where: `file:line:column`, a run, a plugin: the place that the message is about.
    """

    owner: ClassVar[str] = "ours"
    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InputError(DstackError):
    """Something that the user wrote is wrong: a workflow file, an argument, a config file."""

    owner = "yours"
    exit_code = 65


class NotFoundError(DstackError):
    """A run, workflow, tag, artifact or stored object of that name does not exist."""

    owner = "yours"
    exit_code = 66


class PluginError(DstackError):
    """A plugin that is needed is missing, broken, incompatible, or there twice."""

    owner = "plugin"
    exit_code = 69


class ConflictError(DstackError):
    """A conditional write lost: somebody else changed the object first. Also: that name is taken."""

    owner = "yours"
    exit_code = 73


class StoreError(DstackError):
    """An artifact store could not read or write: disk full, permission, network, corrupt content.

    Attributes:
        lasting: trying again will not help until somebody does something (makes room, gives a permission).
    """

    owner = "store"
    exit_code = 74

    def __init__(
        self, message: str, *, hint: str | None = None, where: str | None = None, lasting: bool = False
    ) -> None:
        super().__init__(message, hint=hint, where=where)
        self.lasting = lasting


class ReachError(DstackError):
    """A machine cannot be reached from here: the network, or nobody answers there."""

    owner = "network"
    exit_code = 68


class CapacityError(DstackError):
    """No machine can be had that is large enough: capacity, quota, or none of that size exists."""

    owner = "capacity"
    exit_code = 75


class CredentialsError(DstackError):
    """Credentials are missing, wrong, expired, or lack a permission."""

    owner = "credentials"
    exit_code = 77


class JobError(DstackError):
    """A job cannot be prepared, run or saved, for a reason that is not the exit code of its commands."""

    owner = "yours"
    exit_code = 1
