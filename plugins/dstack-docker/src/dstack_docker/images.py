"""Images: which one a name means now, and having it here."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

from dstack_core.errors import JobError
from dstack_core.models import RegistryAuth
from dstack_docker.engine import Engine, said

Progress = Callable[[int, int], None]
LOOK: Final = 0.2
"""Seconds between looks while another job downloads the same image."""
_DENIED: Final = ("denied", "unauthorized", "authentication required", "no basic auth", "incorrect username")
_MISSING: Final = ("not found", "manifest unknown", "no such image", "name unknown")


class Images:
    """The images of one engine. Used by several threads: what several need is downloaded once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def digest(self, image: str, auth: RegistryAuth | None, *, ask_registry: bool) -> str | None:
        """See `SupportsImages.digest`."""
        name, reference = split(image)
        if reference.startswith("sha256:"):
            return reference
        with self._engine.speaking():
            found = self._here(image)
            if found is not None:
                return _digest_of(found, name)
            if not ask_registry:
                return None
            try:
                about: dict[str, Any] = self._engine.api.inspect_distribution(image, _login(auth))  # type: ignore[no-untyped-call]
            except APIError as error:
                raise refused(image, said(error), auth) from None
            return str(about["Descriptor"]["digest"])

    def is_only_here(self, image: str, digest: str) -> bool:
        """See `SupportsImageOrigin.is_only_here`."""
        with self._engine.speaking():
            found = self._here(image)
        return found is not None and digest == found["Id"] and not found.get("RepoDigests")

    def get(self, image: str, digest: str | None, auth: RegistryAuth | None, progress: Progress) -> dict[str, Any]:
        """The image that had `digest` (None: whatever `image` is now), downloaded if it is not here.

        Raises:
            JobError: it cannot be had.
        """
        name, _ = split(image)
        exact = f"{name}@{digest}" if digest else image
        lock = self._locks[exact]
        while not lock.acquire(timeout=LOOK):
            progress(0, 0)
        try:
            with self._engine.speaking():
                found = self._find(image, exact, digest)
                if found is None:
                    self._download(image, auth, progress)
                    found = self._find(image, exact, digest)
                if found is None:  # its tag has moved since the run was planned
                    self._download(exact, auth, progress)
                    found = self._find(image, exact, digest)
        finally:
            lock.release()
        if found is None:
            raise JobError(f"the image {image} is not what was downloaded for it", hint="run it again")
        return {**found, "Digest": _digest_of(found, name)}

    def _find(self, image: str, exact: str, digest: str | None) -> dict[str, Any] | None:
        if digest is None:
            return self._here(image)
        found = self._here(exact) or self._here(digest)
        # A short name of somebody else's image may look like a digest's beginning; this is about one image only.
        return found if found and digest in (found["Id"], _digest_of(found, split(image)[0])) else None

    def _here(self, image: str) -> dict[str, Any] | None:
        try:
            return dict(self._engine.api.inspect_image(image))  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return None

    def _download(self, image: str, auth: RegistryAuth | None, progress: Progress) -> None:
        download = Download(self._engine, image, auth)
        download.start()
        try:
            while not download.over.wait(LOOK):
                progress(*download.come)
        finally:
            download.abandoned = True
        if download.failure:
            raise download.failure


class Download(threading.Thread):
    """A download under way, in a thread: a registry may be silent for long, and whoever waits may have to leave.

    Attributes:
        come: bytes done, and in all as far as the engine knows.
        failure: why there is no image.
        over: set when it has ended.
        abandoned: set by who has left: at its next word the engine is told to leave it, too.
    """

    def __init__(self, engine: Engine, image: str, auth: RegistryAuth | None) -> None:
        super().__init__(name=f"pull {image}", daemon=True)
        self._engine = engine
        self._image = image
        self._auth = auth
        self._layers: dict[str, tuple[int, int]] = {}
        self.come = (0, 0)
        self.failure: Exception | None = None
        self.over = threading.Event()
        self.abandoned = False

    def run(self) -> None:
        """In the thread."""
        name, reference = split(self._image)
        try:
            pull = self._engine.patient.pull
            for event in pull(name, reference, stream=True, decode=True, auth_config=_login(self._auth)):
                self._note(event)
                if self.abandoned:
                    return
        except APIError as error:
            self.failure = refused(self._image, said(error), self._auth)
        except Exception as error:  # it is the failure of who waits for this thread
            self.failure = error
        finally:
            self.over.set()

    def _note(self, event: dict[str, Any]) -> None:
        if "error" in event:
            raise refused(self._image, str(event["error"]), self._auth)
        detail = event.get("progressDetail") or {}
        layer, layers = str(event.get("id", "")), self._layers
        if event.get("status") == "Downloading" and detail.get("total"):
            layers[layer] = (int(detail["current"]), int(detail["total"]))
        elif event.get("status") in ("Download complete", "Pull complete") and layer in layers:
            layers[layer] = (layers[layer][1], layers[layer][1])
        self.come = sum(done for done, _ in layers.values()), sum(total for _, total in layers.values())


def split(image: str) -> tuple[str, str]:
    """Name, and tag or digest."""
    name, reference = parse_repository_tag(image)
    if reference and reference.startswith("sha256:"):
        name = parse_repository_tag(name)[0]  # `name:tag@digest`: the digest decides
    return name, reference or "latest"


def refused(image: str, why: str, auth: RegistryAuth | None) -> JobError:
    """The error for an image that a registry does not give, with what to do about it."""
    low = why.lower()
    registry = image.split("/")[0] if "." in image.split("/")[0] or ":" in image.split("/")[0] else ""
    if any(word in low for word in _DENIED):
        hint = (
            "are `registry_auth:` and its secrets right?"
            if auth
            else f"is the name right? If it is private: `docker login{f' {registry}' if registry else ''}`, or "
            "`registry_auth:` in the workflow"
        )
        return JobError(f"the registry does not give you the image {image}: {why}", hint=hint)
    if any(word in low for word in _MISSING):
        return JobError(f"there is no image {image}: {why}", hint="are its name and its tag right?")
    return JobError(f"the image {image} cannot be had: {why}", hint=f"`docker pull {image}` says more")


def _digest_of(found: dict[str, Any], name: str) -> str:
    """The digest that registries know the image by under this name; one that was made here has only its id."""
    for known in found.get("RepoDigests") or ():
        repository, _, digest = known.partition("@")
        if _full(repository) == _full(name):
            return str(digest)
    return str(found["Id"])


def _full(name: str) -> str:
    """`python` and `docker.io/library/python` are one."""
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def _login(auth: RegistryAuth | None) -> dict[str, str] | None:
    """None: the SDK takes what `docker login` left."""
    return {"username": auth.username, "password": auth.password} if auth else None
