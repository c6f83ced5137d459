"""The provider `docker`: the program of a container image, or commands in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from dstack_core.errors import InputError
from dstack_core.models import JobSpec, Workflow
from dstack_core.provider import Provider, common_fields
from dstack_provider_docker.entrypoint import given_a_script

if TYPE_CHECKING:
    from pydantic import BaseModel

ARGS: Final = "${{ run.args }}"


class DockerProvider(Provider):
    """Runs an image as `docker run` would, with the checkout beside it."""

    short_options: ClassVar[dict[str, str]] = {"commands": "-c"}

    def properties(self) -> type[BaseModel]:
        """`commands` and `entrypoint`; `image` is a property of every workflow, and required here."""
        from dstack_provider_docker.properties import DockerProperties

        return DockerProperties

    def job_spec(self, workflow: Workflow) -> JobSpec:
        """One job in the image. Raises InputError when there is none."""
        if not workflow.image:
            raise InputError(
                f"`{workflow.name}` has the provider docker, and no image",
                where=workflow.where,
                hint="add `image: ubuntu:24.04` and the like; on the command line `--image ubuntu:24.04`",
            )
        entrypoint, commands = workflow.properties.get("entrypoint"), workflow.properties.get("commands")
        if commands:
            argv = given_a_script(entrypoint or ("sh",))
            return JobSpec(argv=argv, script="\n".join(commands) + "\n", **common_fields(workflow))
        if not entrypoint:
            return JobSpec(argv=(ARGS,), image_command=True, **common_fields(workflow))
        args = () if any("run.args" in word for word in entrypoint) else (ARGS,)
        return JobSpec(argv=(*entrypoint, *args), **common_fields(workflow))
