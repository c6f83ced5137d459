"""Containers that nobody removed: their runner died while the engine was away."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Final

from docker.errors import DockerException
from requests.exceptions import RequestException

from dstack_core.errors import DstackError
from dstack_docker.engine import LABEL, Engine
from dstack_docker.execution import remove

AGE: Final = 600.0
"""Seconds after its end when a container is certainly nobody's: a runner removes its own at once."""
ENDED: Final = ["created", "exited", "dead"]


def remove_leftovers(engine: Engine) -> int:
    """Remove containers of ours that ended long ago, or never began; how many. Never raises a DstackError."""
    removed = 0
    with suppress(DockerException, RequestException, DstackError):
        for found in engine.api.containers(all=True, filters={"label": LABEL, "status": ENDED}):
            about: dict[str, Any] = dict(engine.api.inspect_container(found["Id"]))
            last = max(_time(about["Created"]), _time(about["State"]["FinishedAt"]))
            if time.time() - last > AGE:
                removed += remove(engine, found["Id"])
    return removed


def _time(written: str) -> float:
    """`2026-11-23T10:00:00.123456789Z` as seconds; what never happened was long ago."""
    moment = datetime.strptime(written[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return moment.timestamp()
