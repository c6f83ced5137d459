"""The metadata address, 169.254.169.254, as machines see it. What it says is each cloud's own matter."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloud_network import METADATA, listen

BOOT = "/_box/boot"


@dataclass(frozen=True)
class Request:
    """A call from a machine."""

    machine: str
    method: str
    path: str
    headers: Message


@dataclass(frozen=True)
class Answer:
    """What it is told. `hops`: how many hops the packets of the answer may take, 0 for as many as they like."""

    status: int = 200
    body: str | bytes = ""
    headers: dict[str, str] = field(default_factory=dict)
    hops: int = 0


class MetadataServer:
    """Tells machines apart by the address that they call from."""

    def __init__(
        self, network: int, answer: Callable[[Request], Answer], boot: Callable[[str], dict[str, Any]]
    ) -> None:
        self.machines: dict[str, str] = {}
        """address -> name."""
        self._answer = answer
        self._boot = boot
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                server._handle(self)

            do_GET = do_PUT = do_HEAD = do_POST = handle_one  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        http = ThreadingHTTPServer((METADATA, 80), Handler, bind_and_activate=False)
        http.socket.close()
        http.daemon_threads = True
        http.socket = listen(network, METADATA, 80)
        http.server_name, http.server_port = METADATA, 80
        threading.Thread(target=http.serve_forever, daemon=True).start()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        answer = self._find(handler)
        if answer.hops:
            handler.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, answer.hops)
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        handler.send_response(answer.status)
        for name, value in {"Content-Type": "text/plain", **answer.headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def _find(self, handler: BaseHTTPRequestHandler) -> Answer:
        machine = self.machines.get(handler.client_address[0])
        if machine is None:
            return Answer(404, "not a machine")
        if handler.path == BOOT:
            return Answer(body=json.dumps(self._boot(machine)))
        return self._answer(Request(machine, handler.command, handler.path, handler.headers))
