"""Distributions that bring a capability of a name, for the `pip install` line of an error. Data only."""

from __future__ import annotations

from typing import Final

from dstack_core._plugins.kinds import Kind

DISTRIBUTIONS: Final = {
    ("backend", "aws"): "dstack-aws",
    ("backend", "gcp"): "dstack-gcp",
    ("backend", "local"): "dstack-local",
    ("artifact store", "s3"): "dstack-aws",
    ("secret store", "secrets-manager"): "dstack-aws",
    ("artifact store", "gcs"): "dstack-gcp",
    ("artifact store", "local"): "dstack-local",
    ("executor", "process"): "dstack-local",
    ("executor", "docker"): "dstack-docker",
    **{("provider", name): f"dstack-provider-{name}" for name in ("bash", "docker", "lab", "notebook", "code")},
}


def distribution_for(kind: Kind, name: str) -> str:
    """The distribution to install for a capability: a known one, or what the naming rule says."""
    return DISTRIBUTIONS.get((kind.name, name)) or f"{kind.prefix}{name}"


def known_names(kind: Kind) -> list[str]:
    """Names of this kind that we know a distribution for."""
    return [name for of, name in DISTRIBUTIONS if of == kind.name]
