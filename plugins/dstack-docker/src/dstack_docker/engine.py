"""The connection to a Docker engine, and its errors in words."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from docker.api.client import APIClient
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException

from dstack_core.errors import JobError

LABEL: Final = "dstack.attempt"
"""Every container of ours has it, with the attempt's label as value."""
ANSWER: Final = 60
"""Seconds within which an engine answers."""
USUAL: Final = ("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
"""PATH of an image that names none."""
PATIENCE: Final = 60.0
"""Seconds for an engine that was there to come back: it may be restarting."""


class NoEngineError(JobError):
    """No engine answers."""


class Engine:
    """One engine, connected when it is first needed. Used by several threads."""

    def __init__(self, host: str | None) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._clients: dict[int | None, APIClient] = {}

    @property
    def address(self) -> str:
        """Where the engine listens: the setting, DOCKER_HOST, Docker's current context, or the usual socket."""
        return self._host or os.environ.get("DOCKER_HOST") or _of_context() or _usual_socket()

    @property
    def api(self) -> APIClient:
        """The engine's API. Raises NoEngineError."""
        return self._client(ANSWER)

    @property
    def patient(self) -> APIClient:
        """The same for calls that may take as long as they take. Raises NoEngineError."""
        return self._client(None)

    def _client(self, timeout: int | None) -> APIClient:
        with self._lock:
            if timeout not in self._clients:
                client = self._clients[timeout] = self._connect(timeout)
                weakref.finalize(self, client.close)
            return self._clients[timeout]

    def _connect(self, timeout: int | None) -> APIClient:
        address = self.address
        tls = kwargs_from_env().get("tls") if address == os.environ.get("DOCKER_HOST") else None
        try:
            # None is no limit; the types of the SDK do not know it.
            return APIClient(base_url=address, tls=tls or False, version="auto", timeout=timeout)  # type: ignore[arg-type]
        except (DockerException, RequestException) as error:
            raise no_engine(address, error) from None

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """What the engine says about itself."""
        with self.speaking():
            return dict(self.api.info())

    @property
    def is_rootless(self) -> bool:
        """Whether root in its containers is the user who runs the engine."""
        return any("rootless" in option for option in self.about.get("SecurityOptions") or ())

    @contextmanager
    def speaking(self, what: str | None = None) -> Iterator[None]:
        """Raise JobError instead of the SDK's errors; `what`: could not be done."""
        try:
            yield
        except RequestsConnectionError as error:
            raise no_engine(self.address, error) from None
        except (DockerException, RequestException) as error:
            raise JobError(f"{what}: {said(error)}" if what else said(error)) from None

    @property
    def was_there(self) -> bool:
        """Whether it has answered before."""
        return bool(self._clients)

    def await_return(self, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Whether an engine that went away is back. `meanwhile` is called again and again."""
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if time.monotonic() > deadline:
                return False
            meanwhile()
            time.sleep(0.2)
        return True

    def answers(self) -> bool:
        """Whether there is one now."""
        try:
            client = self._connect(5)
        except NoEngineError:
            return False
        client.close()
        return True


def no_engine(address: str, error: Exception) -> NoEngineError:
    """The error for an engine that cannot be reached, with what to do about it."""
    text = repr(error)
    if "PermissionError" in text or "Permission denied" in text:
        return NoEngineError(
            f"you may not use the Docker engine at {address}",
            hint="`sudo usermod -aG docker $USER`, then log in again; or use a rootless engine",
        )
    return NoEngineError(
        f"no Docker engine answers at {address}",
        hint="start it with `sudo systemctl start docker` or Docker Desktop, or name another in DOCKER_HOST",
    )


def said(error: Exception) -> str:
    """What the engine said, without the SDK's words around it."""
    if isinstance(error, APIError) and error.explanation:
        explanation = error.explanation
        return str(explanation.decode() if isinstance(explanation, bytes) else explanation).strip()
    return str(error) or type(error).__name__


def ignoring_missing(act: Callable[[], object]) -> bool:
    """Do something to a container; whether it was there to do it to. What has ended already cannot be ended."""
    try:
        act()
    except APIError as error:
        if error.status_code in (404, 409):
            return False
        raise
    return True


def has_program(engine: Engine, container: str, name: str) -> bool:
    """Whether a container, running or not, has a program of that name where its image looks for some."""
    api = engine.api
    env = api.inspect_container(container)["Config"]["Env"] or ()
    paths = [value for key, _, value in (variable.partition("=") for variable in env) if key == "PATH"]
    place = f"{api.base_url}/v{api.api_version}/containers/{container}/archive"
    return any(api.head(place, params={"path": f"{folder}/{name}"}).ok for folder in (paths or USUAL)[0].split(":"))


def _of_context() -> str | None:
    """The engine of Docker's current context, where that is not the usual one."""
    if not os.path.exists(os.path.join(os.environ.get("DOCKER_CONFIG", os.path.expanduser("~/.docker")), "contexts")):
        return None
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_current_context()
    except DockerException:
        return None
    return str(context.Host) if context and context.Host else None


def _usual_socket() -> str:
    """The system's socket; that of a rootless engine where only it is there."""
    rootless = f"{os.environ.get('XDG_RUNTIME_DIR', f'/run/user/{os.geteuid()}')}/docker.sock"
    system = "/var/run/docker.sock"
    return f"unix://{rootless if os.path.exists(rootless) and not os.path.exists(system) else system}"
