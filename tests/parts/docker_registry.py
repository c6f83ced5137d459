"""A private registry for images, with a login, on a port of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD = "alice", "open sesame"
BCRYPT = "$2y$05$d/VJMBw6apDZP.2aR5BtGuARmqDxNnK82FQpIHqBTafL8OJqhlBma"
CONFIG = """\
version: 0.1
log: {{accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


class Registry:
    """Where it listens, and what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.name = f"127.0.0.1:{self.port}"
        (folder / "htpasswd").write_text(f"{USER}:{BCRYPT}\n")
        (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=self.port))
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", folder / "config.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)

    @property
    def login(self) -> Path:
        """A folder for DOCKER_CONFIG, as `docker login` leaves it."""
        import base64

        folder = self._folder / "docker"
        folder.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.name: {"auth": auth}}}))
        return folder

    def push(self, image: str, name: str) -> str:
        """Give an image of the engine to the registry, as `name`, and take it from the engine."""
        full = f"{self.name}/{name}"
        environ = {**os.environ, "DOCKER_CONFIG": str(self.login)}
        for command in (["tag", image, full], ["push", full], ["rmi", full]):
            subprocess.run(["docker", *command], check=True, capture_output=True, env=environ)
        return full

    def forget(self, *images: str) -> None:
        """Take from the engine what came from here."""
        subprocess.run(["docker", "rmi", "-f", *images], check=False, capture_output=True)

    def downloads(self) -> list[str]:
        """Paths of blobs and manifests that were got, in order."""
        lines = (self._folder / "log").read_text().splitlines()
        return [line.split('"GET ')[1].split()[0] for line in lines if '"GET ' in line and '" 200 ' in line]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.name}/v2/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return True  # it wants a login
        except OSError:
            return False
        return True


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Iterator[Registry]:
    if shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry")
    with contextlib.closing(Registry(tmp_path_factory.mktemp("registry"))) as made:
        yield made
