"""A proxy in front of an HTTP server that does wrong what it is told to: for one request, or for several.

    with FaultProxy(upstream) as proxy:
        proxy.add(Fault("lost", method="PUT"))
        ...                      # proxy.address is where the client goes
        assert proxy.seen("PUT") == 2

What a fault does:

| act | the client gets |
|---|---|
| `answer` | `status` and `body`; the server is not asked |
| `lost` | nothing: the connection ends after the server has done what it was asked |
| `dropped` | nothing: the connection ends before the server is asked |
| `cut` | the first half of the answer's body |
| `flip` | the answer with one bit of its body wrong |
| `then` | what the server answers |

`call()` runs when the server has answered: there somebody else can come between.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

Act = Literal["answer", "lost", "dropped", "cut", "flip", "then"]


@dataclass
class Fault:
    """What to do with the next `times` requests that match."""

    act: Act
    method: str = ""
    path: str = ""
    times: int = 1
    status: int = 503
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    call: Callable[[], object] = lambda: None

    def matches(self, method: str, path: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.path in path


def s3_error(code: str, message: str = "as the test wants it", more: str = "") -> bytes:
    """The body of an error of S3."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


class FaultProxy:
    """Listens on a port of its own as long as the `with` lasts."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (str(parts.hostname), int(parts.port or 80))
        self.requests: list[tuple[str, str]] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, *faults: Fault) -> None:
        """Behind those that are there; each request meets the first that matches."""
        with self._lock:
            self._faults += faults

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def seen(self, method: str = "", path: str = "") -> int:
        """How many requests there were."""
        return sum(method in ("", m) and path in p for m, p in self.requests)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request."""
        with self._lock:
            self.requests.append((method, path))
            for fault in self._faults:
                if fault.matches(method, path):
                    fault.times -= 1
                    return fault
        return None

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    proxy: FaultProxy

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Those that clients keep for later: their threads wait for the next request."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of ours."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.server.proxy
        fault = proxy.take(self.command, self.path)
        act = fault.act if fault else ""
        if act == "dropped":
            self.close_connection = True
            return
        if fault and act == "answer":
            self._send(fault.status, fault.headers, fault.body)
            return
        status, headers, answer = self._forward(proxy.upstream, body)
        if fault:
            fault.call()
        if act == "lost":
            self.close_connection = True
            return
        if act == "flip" and answer:
            middle = len(answer) // 2
            answer = answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
        self._send(status, headers, answer, cut=act == "cut")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815  names of the standard library

    def _forward(self, upstream: tuple[str, int], body: bytes) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection(*upstream, timeout=60)) as connection:
            # With the client's own Host: it is part of what was signed.
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            dropped = ("transfer-encoding", "connection", "date", "server")
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in dropped}
            return answer.status, headers, answer.read()

    def _send(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        if self.command != "HEAD":
            headers = {**{k: v for k, v in headers.items() if k.lower() != "content-length"},
                       "Content-Length": str(len(body))}  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command == "HEAD" and not any(name.lower() == "content-length" for name in headers):
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def log_message(self, *_: object) -> None:
        """Nothing."""
