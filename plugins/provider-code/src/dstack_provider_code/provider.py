"""The provider `code`: VS Code in the browser, opened by a link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider, environment_fields
from dstack_core.units import parse_duration
from dstack_provider_code.script import DOOR, Release, script

if TYPE_CHECKING:
    from pydantic import BaseModel


class CodeProvider(Provider):
    """Runs `setup`, then code-server in the job's folder."""

    def properties(self) -> type[BaseModel]:
        """`setup`, `extensions`, `version`, `idle_duration`, `server`, `url` and `sha256`."""
        from dstack_provider_code.properties import CodeProperties

        return CodeProperties

    def job_spec(self, workflow: Workflow) -> JobSpec:
        """One job that serves until it is stopped, or nobody has had a window open for `idle_duration`."""
        given = workflow.properties
        idle = given.get("idle_duration")
        release = Release(given.get("version"), given.get("url"), given.get("sha256"))
        return JobSpec(
            argv=("bash", "-e"),
            script=script(
                given.get("setup") or (),
                extensions=given.get("extensions") or (),
                server=given.get("server") or "",
                release=release,
                idle=round(parse_duration(idle)) if idle else 0,
            ),
            page=f"{DOOR}#${{{{ job.token }}}}",
            **environment_fields(workflow),
        )
