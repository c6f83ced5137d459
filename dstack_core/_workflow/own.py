"""A provider's own properties: which there are, and whether those of a workflow are right.

Only the provider's pydantic model knows, and pydantic is slow to import. So what it said before is asked first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dstack_core._workflow.memory import About, Memory
from dstack_core._workflow.options import OptionSpec, all_options, options_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.provider import Provider


class OwnProperties:
    """The properties of one provider. Whatever the provider's code raises comes through.

    `memory`: what an earlier command learned of this provider; None: ask the provider.
    """

    def __init__(self, provider: Provider, memory: Memory | None = None) -> None:
        self.provider = provider
        self._memory = memory

    @functools.cached_property
    def about(self) -> About:
        """Which properties there are."""
        if self._memory and self._memory.about:
            return self._memory.about
        model = self._model
        return About(
            frozenset(field.alias or name for name, field in model.model_fields.items()),
            model.model_config.get("extra") == "allow",
            tuple(options_of(model, self.provider.short_options)),
        )

    @property
    def options(self) -> list[OptionSpec]:
        """The options of the command line: those of every workflow, then those for these properties."""
        return all_options(self.about.options)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values as plain JSON, after the provider's model accepted them.

        Raises:
            pydantic.ValidationError: it did not.
        """
        known = self._memory.result(given) if self._memory else None
        if known is not None:
            return known
        found = self._model.model_validate(dict(given)).model_dump(mode="json", by_alias=True)
        if self._memory:
            self._memory.learn(given, found)
        return found

    def remember(self) -> None:
        """Keep for later commands what was learned in this one."""
        if self._memory and self._memory.changed:
            self._memory.keep(self.about)

    @functools.cached_property
    def _model(self) -> type[BaseModel]:
        return self.provider.properties()
