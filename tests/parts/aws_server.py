"""The process that is AWS for a test run: moto over HTTP, machines, their metadata, and control of it all by tests."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # which takes seconds
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

import cloud_image
from aws_accounts import Accounts
from aws_app import App
from aws_control import Verbs
from aws_instances import Instances
from aws_metadata import InstanceMetadata
from cloud_control import Control
from cloud_engine import MachineEngine
from cloud_inbound import Inbound
from cloud_machines import Machines
from cloud_metadata import MetadataServer
from cloud_network import GATEWAY, Relay, listen
from cloud_shared import Users
from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server


class Quiet(MotoRequestHandler):
    """Writes no line for each request."""

    def log_request(self, *_: object) -> None:
        pass


def serve(app: Any, listening: socket.socket) -> None:
    """In a thread of its own."""
    host, port = listening.getsockname()
    server = make_server(host, port, app, threaded=True, request_handler=Quiet, fd=listening.fileno())
    server.daemon_threads = True  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Box:
    """Everything, put together."""

    def __init__(self, folder: Path, engine: MachineEngine) -> None:
        self.engine = engine
        state = threading.RLock()
        instances = Instances(state)
        environment: dict[str, str] = {}
        ports: list[int] = []
        accounts = Accounts(environment, ports)
        metadata = InstanceMetadata(state, instances, accounts)
        images = folder / "images"
        images.mkdir()
        instances.machines = self.machines = Machines(self.engine, cloud_image.disk(), images, instances.exited)
        instances.metadata = MetadataServer(self.engine.pid, metadata.answer, metadata.boot)
        inbound = Inbound(self.engine.pid)
        app = App(state, accounts, instances, inbound)
        verbs = Verbs(state, accounts, instances, app, inbound, self.expose)
        outside = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = outside.getsockname()[1]
        inside = listen(self.engine.pid, GATEWAY, self.port)
        serve(Control(verbs.table(), app), outside)
        serve(lambda environ, start: app(environ, start, machine=True), inside)
        self._sockets = {0: outside, self.port: inside}
        environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{self.port}"
        ports.append(self.port)

    def expose(self, port: int) -> None:
        """Let machines reach a port of this machine."""
        if port not in self._sockets:
            self._sockets[port] = listen(self.engine.pid, GATEWAY, port)
            Relay(self._sockets[port], port)


def main() -> None:
    folder = Path(sys.argv[1])
    with closing(Users(folder)) as users, closing(MachineEngine(folder / "engine")) as engine:
        box = Box(folder, engine)
        users.announce({"address": f"http://127.0.0.1:{box.port}", "images": str(folder / "images")})
        users.wait()
        box.machines.close()


if __name__ == "__main__":
    main()
