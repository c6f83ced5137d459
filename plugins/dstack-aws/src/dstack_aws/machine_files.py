"""What machines need of the SDK: most of its files describe services of AWS that nothing here ever calls."""

from __future__ import annotations

from typing import Final

SERVICES: Final = frozenset(
    {"ec2", "pricing", "s3", "secretsmanager", "service-quotas", "ssm", "sso", "sso-oidc", "sts"}
)  # fmt: skip
"""Those that are called on machines, and those that the SDK may ask for credentials."""


def unneeded(distribution: str, path: str) -> bool:
    """See `dstack_core.hookspecs.Entry.unneeded`."""
    if distribution != "botocore" or not path.startswith("botocore/data/"):
        return False
    service, _, file = path.removeprefix("botocore/data/").partition("/")
    return bool(file) and (service not in SERVICES or file.partition("/")[2].startswith("examples-"))
