"""The contract of a secret store."""

from __future__ import annotations

import abc
from collections.abc import Sequence


class SecretStore(abc.ABC):
    """Keeps secrets, by repository (`OWNER/REPO`) and name. Used by several threads and processes at once.

    A name is letters, digits and `_`, and begins with no digit; core sees to that. A value is any text without NUL
    characters, of several lines, too, and comes back as it was put, to the last space. Nothing else has a value in
    it: no error, no `repr`, no argument of a process, no file that others may read.
    """

    @abc.abstractmethod
    def list(self, repo: str) -> Sequence[str]:
        """Names only, sorted."""

    @abc.abstractmethod
    def get(self, repo: str, name: str) -> str:
        """The value. Raises NotFoundError."""

    @abc.abstractmethod
    def put(self, repo: str, name: str, value: str) -> None:
        """Add or replace; durable on return.

        Raises:
            InputError: the store keeps no such value: an empty one, one that is too long.
        """

    @abc.abstractmethod
    def delete(self, repo: str, name: str) -> None:
        """Forget it. Raises NotFoundError."""
