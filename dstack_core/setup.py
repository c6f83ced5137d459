"""Abilities by which `dstack config` helps to set a remote up. All are optional.

A settings model marks what has to be asked for (`Field(json_schema_extra=ASKED)`), and may know what is probably meant
(`SupportsSuggestions`). A backend or a store may make in an account what it needs there (`SupportsSetup`),
and say what has to be allowed for it (`SupportsPolicies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ASKED: Final[dict[str, Any]] = {"asked": True}
"""Marks a field of a settings model that nobody but the user knows: `dstack config` asks for it."""


def is_asked(field: FieldInfo) -> bool:
    """Whether the field has the mark."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("asked"))


@runtime_checkable
class SupportsSuggestions(Protocol):
    """A settings model that knows values which may be meant."""

    @classmethod
    def suggestions(cls, field: str, given: Mapping[str, Any]) -> Sequence[str]:
        """Values for `field` in view of those `given` already; none if nothing is known. The likeliest comes first, an
        empty text if none is likelier than the others.

        May ask a service, within a few seconds. Raises DstackError when it cannot be asked, which is then told.
        """


@runtime_checkable
class SupportsSetup(Protocol):
    """A backend or a store that can make what it needs."""

    def lacking(self) -> Sequence[str]:
        """What is not there, one line each, for people: what would be made, and how.

        Raises:
            DstackError: it cannot be found out.
        """

    def set_up(self) -> None:
        """Make what is lacking. May be called again after it was cut short, and by several at once.

        Raises:
            DstackError: it cannot be made.
        """


@runtime_checkable
class SupportsPolicies(Protocol):
    """A backend that knows what has to be allowed in an account for it, and for the stores that go with it."""

    def policies(self, remote: str) -> Mapping[str, Any]:
        """The least that has to be allowed, as plain JSON in the cloud's own words, by who needs it: who sets up, who
        uses dstack, its machines. `remote`: the name of the remote whose settings they are about. Asks nobody.

        Raises:
            DstackError: the settings are wrong.
        """
