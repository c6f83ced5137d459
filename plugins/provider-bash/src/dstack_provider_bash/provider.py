"""The provider `bash`: shell commands, run in order, ended by the first that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider, common_fields

if TYPE_CHECKING:
    from pydantic import BaseModel


class BashProvider(Provider):
    """Runs `setup`, then `commands`, as one bash script under `set -e`."""

    short_options: ClassVar[dict[str, str]] = {"commands": "-c"}

    def properties(self) -> type[BaseModel]:
        """`commands` (required) and `setup`."""
        from dstack_provider_bash.properties import BashProperties

        return BashProperties

    def job_spec(self, workflow: Workflow) -> JobSpec:
        """One job that runs all commands in the working folder."""
        lines = [*workflow.properties.get("setup", ()), *workflow.properties["commands"]]
        return JobSpec(argv=("bash", "-e"), script="\n".join(lines) + "\n", **common_fields(workflow))
