"""A provider's own properties: which there are, and whether those of a workflow are right.

Only the provider's pydantic model knows, and pydantic is slow to import. So what it said before is asked first.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dstack_core._workflow.memory import About, Memory
from dstack_core._workflow.options import OptionSpec, all_options, options_of
from dstack_core.errors import DstackError, PluginError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.models import JobSpec, Workflow
    from dstack_core.provider import Provider


class OwnProperties:
    """The properties of one provider. What its code raises by mistake comes as a PluginError that names it.

    `memory`: what an earlier command learned of this provider; None: ask the provider. `name`: what errors call it.
    """

    def __init__(self, provider: Provider, memory: Memory | None = None, *, name: str | None = None) -> None:
        self._name = name or type(provider).__name__
        self._provider = provider
        self._memory = memory

    @functools.cached_property
    def about(self) -> About:
        """Which properties there are. Raises PluginError."""
        if self._memory and self._memory.about:
            return self._memory.about
        with self._blamed("when asked for its properties"):
            model = self._model
            return About(
                frozenset(field.alias or name for name, field in model.model_fields.items()),
                model.model_config.get("extra") == "allow",
                tuple(options_of(model, self._provider.short_options)),
            )

    @property
    def options(self) -> list[OptionSpec]:
        """The options of the command line: those of every workflow, then those for these properties."""
        return all_options(self.about.options)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values as plain JSON, after the provider's model accepted them.

        Raises:
            pydantic.ValidationError: it did not.
            PluginError: its code failed.
        """
        known = self._memory.result(given) if self._memory else None
        if known is not None:
            return known
        with self._blamed("while it checked its properties"):
            found = self._model.model_validate(dict(given)).model_dump(mode="json", by_alias=True)
        if self._memory:
            self._memory.learn(given, found)
        return found

    def job_spec(self, workflow: Workflow) -> JobSpec:
        """What the provider makes of a workflow that was checked.

        Raises:
            InputError: its properties make no sense together.
            PluginError: its code failed.
        """
        from dstack_core.models import JobSpec

        with self._blamed("while it made a job", workflow.where):
            spec = self._provider.job_spec(workflow)
            if not isinstance(spec, JobSpec):
                raise TypeError(f"it made {type(spec).__name__}, which is no JobSpec")
            return spec

    def remember(self) -> None:
        """Keep for later commands what was learned in this one."""
        if self._memory and self._memory.changed:
            self._memory.keep(self.about)

    @functools.cached_property
    def _model(self) -> type[BaseModel]:
        return self._provider.properties()

    @contextlib.contextmanager
    def _blamed(self, moment: str, where: str | None = None) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, DstackError):
            raise
        except BaseException as error:
            from pydantic import ValidationError  # not before, for it is slow to import

            if isinstance(error, ValidationError):
                raise
            from dstack_core._plugins.load import describe

            message = f"provider `{self._name}` failed {moment}: {describe(error, moment)}"
            raise PluginError(message, where=where, hint="see `dstack plugins doctor`, or tell its author") from error
