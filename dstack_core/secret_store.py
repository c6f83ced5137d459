"""The contract of a secret store."""

from __future__ import annotations

import abc
from collections.abc import Sequence


class SecretStore(abc.ABC):
    """Keeps secrets, by repository (`OWNER/REPO`) and name."""

    @abc.abstractmethod
    def list(self, repo: str) -> Sequence[str]:
        """Names only."""

    @abc.abstractmethod
    def get(self, repo: str, name: str) -> str:
        """The value. Raises NotFoundError."""

    @abc.abstractmethod
    def put(self, repo: str, name: str, value: str) -> None:
        """Add or replace."""

    @abc.abstractmethod
    def delete(self, repo: str, name: str) -> None:
        """Raises NotFoundError."""
