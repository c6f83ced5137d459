"""What machines need of the SDK: most of its files describe services of AWS that nothing here ever calls."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Final

SERVICES: Final = frozenset(
    {"ec2", "pricing", "s3", "secretsmanager", "service-quotas", "ssm", "sso", "sso-oidc", "sts"}
)
"""Those that are called on machines, and those that the SDK may ask for credentials."""
_DATA: Final = "botocore/data/"


def unneeded(distribution: str, path: str) -> bool:
    """See `dstack_core.hookspecs.Entry.unneeded`."""
    if distribution != "botocore" or not path.startswith(_DATA):
        return False
    service, _, file = path.removeprefix(_DATA).partition("/")
    if not file:
        return False
    version, _, name = file.partition("/")
    return service not in SERVICES or version != _newest(service) or name.startswith("examples-")


@functools.cache
def _newest(service: str) -> str:
    """The version of its description that the SDK takes."""
    found = importlib.util.find_spec("botocore")
    assert found is not None
    assert found.origin is not None
    return max(folder.name for folder in (Path(found.origin).parent / "data" / service).iterdir())
