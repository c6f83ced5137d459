"""The base key: what makes two jobs the same job, apart from the code.

In the key: this module's format, repository, workflow, values of the matrix, provider, command, script, environment,
arguments, python, image, its digest and whether its own command runs, working folder, number of ports, paths of
artifacts, executor; and the inputs, each as path and tree digest.

Not in the key, because the result does not depend on it or must not:
resources (a larger machine gives the same result), retry and max_duration (they decide whether there is a result),
help, `mount` of an artifact (when it is saved), `registry_auth` (who asks for the image), the names of the deps (their
artifacts are what counts), the globs of `inputs` (they say which code counts; the code is compared by itself), and the
run's name. Templates stay unfilled: `${{ run.name }}` would make every key new, and a secret's value has no business in
a record. So a secret that was changed does not make a job run again; `--force` does.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from dstack_core._ledger.traces import Input
from dstack_core._plan.job import PlannedJob
from dstack_core.models import Artifact, JobSpec, Port

FORMAT: Final = 1
"""Raise it when equal definitions come to mean something else: nothing older is then reused."""


def definition(job: PlannedJob) -> dict[str, Any]:
    """Everything in the key but the inputs, as plain JSON."""
    spec = job.spec
    matrix = {"matrix": dict(job.cell.values)} if job.cell else {}
    return {
        **matrix,
        "format": FORMAT,
        "repo": job.repo,
        "workflow": job.workflow,
        "ad_hoc": job.ad_hoc,
        "provider": job.provider,
        "argv": list(spec.argv),
        **_of_image(spec),
        "script": spec.script,
        "env": dict(spec.env),
        "args": list(spec.args),
        "python": spec.python,
        "image": spec.image,
        "image_digest": spec.image_digest,
        "working_dir": posixpath.normpath(spec.working_dir or "."),
        "ports": _ports(spec.ports),
        "artifacts": sorted(_declared(artifact.path) for artifact in spec.artifacts),
        "executor": spec.executor,
    }


def _of_image(spec: JobSpec) -> dict[str, bool]:
    return {"image_command": True, "image_folder": spec.working_dir is None} if spec.image_command else {}


def _ports(ports: Sequence[Port]) -> int | list[int | None]:
    """Where the user reaches them does not count."""
    return [port.number for port in ports] if any(port.number for port in ports) else len(ports)


def as_run(job: PlannedJob, image_digest: str | None) -> PlannedJob:
    """The job with the image that it really ran in, if the plan could not know it."""
    return replace(job, spec=replace(job.spec, image_digest=image_digest or job.spec.image_digest))


def base_key(defined: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    """64 hexadecimal digits."""
    laid = [[artifact.path, artifact.tree] for artifact in overlay(inputs)]
    text = json.dumps({"definition": defined, "inputs": laid}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def overlay(inputs: Sequence[Input]) -> tuple[Artifact, ...]:
    """Artifacts in the order in which they are laid into a job's folder, a later one over an earlier one.

    Sorted by path, outer folders before what lies in them; those of one path in the order of the deps, so that
    the later dep wins where both have a file. An artifact that comes twice is laid once, at its last place.
    The order of deps that do not meet at a path therefore does not count.
    """
    last = {(a.path, a.tree): (n, a) for n, a in enumerate(a for taken in inputs for a in taken.artifacts)}
    return tuple(a for _, a in sorted(last.values(), key=lambda placed: (placed[1].path.split("/"), placed[0])))


def _declared(path: str) -> str:
    # A final slash makes a folder of what looks like a file (`logs.d/`), so it stays; `./` says nothing.
    return posixpath.normpath(path) + ("/" if path.endswith("/") else "")
