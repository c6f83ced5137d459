"""moto as a server: S3, Secrets Manager and whatever else of AWS, in memory.

Requests are taken one at a time: moto compares and writes in two steps, between which another thread may write.

    python moto_server.py PORT
"""

from __future__ import annotations

import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from shared_server import Server, shared
from weed import BUCKET, S3Server


def serve(port: int) -> None:
    """Until killed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    application: Any = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            return list(application(environ, start))

    run_simple("127.0.0.1", port, one_at_a_time, threaded=True)


def start_moto() -> Server:
    """Until it has a bucket."""
    server = Server("moto", lambda _, port: [sys.executable, str(Path(__file__)), str(port)])
    server.await_answer(answers)
    S3Server(f"http://127.0.0.1:{server.port}").client().create_bucket(Bucket=BUCKET)
    return server


def answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=10) as answer:
        return bool(answer.status == 200)
    return False


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of AWS, in memory."""
    with shared(tmp_path_factory, "moto", start_moto) as port:
        yield S3Server(f"http://127.0.0.1:{port}")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
