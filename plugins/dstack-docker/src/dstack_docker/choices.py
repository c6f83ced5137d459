"""What a user chose, and the defaults of what they did not. `settings` has the model that checks it before."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

SOCKET: Final = "docker.sock"


@dataclass(frozen=True)
class Choices:
    """The settings, as `DockerSettings` describes them."""

    host: str | None = None
    image: str = "continuumio/miniconda3"
    user: str = "caller"
    network: str = "bridge"
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Choices:
        """From those settings that are set."""
        names = [f.name for f in fields(cls)]
        return cls(**{name: settings[name] for name in names if settings.get(name) is not None})


def split_mount(mount: str) -> tuple[str, str, bool]:
    """Path here, path in the container, whether it is only read there. Raises ValueError for what is no mount."""
    parts = mount.split(":")
    good = len(parts) == 2 or (len(parts) == 3 and parts[2] in ("ro", "rw"))
    if not good or not all(part.startswith("/") for part in parts[:2]):
        raise ValueError(f"{mount} is no mount: write /path/here:/path/there, or with :ro")
    if posixpath.basename(posixpath.normpath(parts[0])) == SOCKET:
        raise ValueError(f"{parts[0]} is given to no job: whoever has it is root on this machine")
    return parts[0], parts[1], parts[2:] == ["ro"]
