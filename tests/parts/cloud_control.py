"""How tests steer an emulated cloud: `POST /_box/VERB` with the arguments as JSON. Machines cannot call it."""

from __future__ import annotations

import json
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

PREFIX = "/_box/"


class Control:
    """A WSGI application: verbs to functions, everything else to the cloud."""

    def __init__(self, verbs: dict[str, Callable[..., Any]], cloud: Callable[..., Iterable[bytes]]) -> None:
        self._verbs = verbs
        self._cloud = cloud

    def __call__(self, environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(PREFIX):
            return self._cloud(environ, start)
        arguments = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        try:
            body, status = json.dumps(self._verbs[path[len(PREFIX) :]](**arguments)), "200 OK"
        except Exception:
            body, status = json.dumps(traceback.format_exc()), "400 Bad Request"
        start(status, [("Content-Type", "application/json")])
        return [body.encode()]


def tell(address: str, verb: str, **arguments: Any) -> Any:
    """What the cloud at this address answers to a verb."""
    data = json.dumps(arguments).encode()
    request = urllib.request.Request(f"{address}{PREFIX}{verb}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"{verb}: {json.load(error)}") from None
