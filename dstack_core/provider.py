"""The contract of a provider: it turns a workflow into a job spec."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dstack_core.models import JobSpec, Workflow


class Provider(abc.ABC):
    """Pure: no I/O, no clock, no randomness, so that `dstack plan` can call it and two calls agree.

    A provider is made with no arguments, once per command.
    """

    @abc.abstractmethod
    def properties(self) -> type[BaseModel]:
        """The YAML properties that are this provider's own, beside those that every workflow has.

        Each field's description becomes its help in `dstack run WORKFLOW --help`, and a field of type str, int,
        float, bool or list of str becomes a command line option. What `dstack run` or every workflow has already
        (`--tag`, `--env`) stays theirs. Import pydantic inside: it is slow to import.
        """

    @abc.abstractmethod
    def job_spec(self, workflow: Workflow) -> JobSpec:
        """What to run for this workflow. `workflow.properties` has passed `properties()`.

        Raises:
            InputError: a combination of properties that makes no sense.
        """

    short_options: ClassVar[dict[str, str]] = {}
    """Short forms of options, e.g. `{"commands": "-c"}`."""


def common_fields(workflow: Workflow) -> dict[str, Any]:
    """What nearly every provider passes on from the workflow unchanged, as arguments of `JobSpec`."""
    return {
        "env": workflow.env,
        "args": workflow.args,
        "python": workflow.python,
        "image": workflow.image,
        "registry_auth": workflow.registry_auth,
        "executor": workflow.executor,
        "working_dir": workflow.working_dir,
        "ports": workflow.ports,
        "artifacts": workflow.artifacts,
        "requirements": workflow.resources,
        "retry": workflow.retry,
        "max_duration": workflow.max_duration,
    }


def environment_fields(workflow: Workflow) -> dict[str, Any]:
    """The same for a provider whose job people work in: a server at its first port, edits and artifacts saved all the
    while, and never reused."""
    from dataclasses import replace

    from dstack_core.models import Port

    return common_fields(workflow) | {
        "ports": workflow.ports or (Port(),),
        "artifacts": tuple(replace(artifact, mount=True) for artifact in workflow.artifacts),
        "edits": True,
        "reusable": False,
    }
