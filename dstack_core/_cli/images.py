"""Which executor each job of a plan gets, and what its image is now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from dstack_core._engine.executors import Executors
from dstack_core._engine.remote import DEFAULT
from dstack_core._plan.job import PlannedJob
from dstack_core._plan.reason import listed
from dstack_core.errors import DstackError, JobError, PluginError
from dstack_core.executor import SupportsImageOrigin, SupportsImages
from dstack_core.models import JobSpec, RegistryAuth


class Images:
    """Fills in executors and images of job specs.

    Attributes:
        unknown: jobs whose images cannot be known now, by name, and why.
    """

    def __init__(self, executors: Executors) -> None:
        self._executors = executors
        self._digests: dict[tuple[str, str, RegistryAuth | None], str | JobError | None] = {}
        self.unknown: dict[str, DstackError] = {}

    def fill(self, name: str, spec: JobSpec, *, contained: bool) -> JobSpec:
        """The spec of the job `name` with its executor, and with its image if that executor runs images.

        `contained`: its inputs need a container.

        Raises:
            PluginError: the executor that it needs cannot be had.
        """
        spec = replace(spec, executor=self._executors.name_for(spec, contained=contained))
        if spec.image is None and spec.executor == DEFAULT.executor:
            return spec  # the usual case: it runs no images, and is not loaded to hear that
        try:
            executor = self._executors.get(spec.executor)
        except PluginError as error:
            why = f"has the image {spec.image}" if spec.image else f"runs in {spec.executor}"
            raise PluginError(f"`{name}` {why}, but {error.message}", hint=error.hint, where=error.where) from None
        if not isinstance(executor, SupportsImages):
            return spec
        return self._filled(name, executor, replace(spec, image=spec.image or executor.default_image))

    def _filled(self, name: str, executor: SupportsImages, spec: JobSpec) -> JobSpec:
        key = (spec.executor or "", spec.image or "", spec.registry_auth)
        if key not in self._digests:
            self._digests[key] = _digest(executor, spec)
        found = self._digests[key]
        if isinstance(found, JobError):
            self.unknown[name] = found
            return spec
        return replace(spec, image_digest=found)


def _digest(executor: SupportsImages, spec: JobSpec) -> str | JobError | None:
    auth = spec.registry_auth
    # Only the runner fills secrets in; until then nobody can ask a registry that wants them.
    secret = auth is not None and "${{" in auth.username + auth.password
    try:
        return executor.digest(spec.image or "", None if secret else auth, ask_registry=not secret)
    except JobError as error:
        return error


def only_here(executors: Executors, jobs: Iterable[PlannedJob]) -> list[str]:
    """Which jobs have images that machines elsewhere can hardly have, in words. Asks no registry."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        spec = job.spec
        if spec.image is None or spec.image_digest is None:
            continue
        executor = executors.get(spec.executor)
        with contextlib.suppress(JobError):
            if isinstance(executor, SupportsImageOrigin) and executor.is_only_here(spec.image, spec.image_digest):
                found.setdefault(spec.image, []).append(job.name)
    return [
        f"{listed(names)}: the image {image} was made on this machine, and no registry is known to have it: machines "
        "elsewhere cannot run it unless they come with it; push it to a registry"
        for image, names in found.items()
    ]


def is_special(spec: JobSpec) -> bool:
    """Whether to ask its executor if it can run such a job. Loading one takes time; most jobs are refused by none."""
    absolute = any(artifact.path.startswith("/") for artifact in spec.artifacts)
    return absolute or spec.image is not None or spec.executor != DEFAULT.executor
