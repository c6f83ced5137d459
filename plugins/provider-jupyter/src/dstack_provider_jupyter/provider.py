"""The providers `lab` and `notebook`: a server of Jupyter in the job's own environment, opened by a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider, environment_fields
from dstack_core.units import parse_duration
from dstack_provider_jupyter.script import script

if TYPE_CHECKING:
    from pydantic import BaseModel


class LabProvider(Provider):
    """Runs `setup`, then JupyterLab."""

    kind: ClassVar[str] = "lab"
    page: ClassVar[str] = "/lab"

    def properties(self) -> type[BaseModel]:
        """`setup`, `version` and `idle_duration`."""
        from dstack_provider_jupyter.properties import LabProperties

        return LabProperties

    def job_spec(self, workflow: Workflow) -> JobSpec:
        """One job that serves until it is stopped, or nobody has used it for `idle_duration`."""
        given = workflow.properties
        idle = given.get("idle_duration")
        return JobSpec(
            argv=("bash", "-e"),
            script=script(
                self.kind,
                setup=given.get("setup") or (),
                version=given.get("version") or "",
                idle=parse_duration(idle) if idle else 0.0,
                working_dir=workflow.working_dir or ".",
            ),
            page=self.page + "?token=${{ job.token }}",
            **environment_fields(workflow),
        )


class NotebookProvider(LabProvider):
    """Runs `setup`, then Jupyter Notebook."""

    kind: ClassVar[str] = "notebook"
    page: ClassVar[str] = "/tree"

    def properties(self) -> type[BaseModel]:
        """`setup`, `version` and `idle_duration`."""
        from dstack_provider_jupyter.properties import NotebookProperties

        return NotebookProperties
