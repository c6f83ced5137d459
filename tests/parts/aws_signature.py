"""Whether a request is signed as version 4 of AWS's signatures wants it, in its headers or in its query."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

_HEADER = re.compile(r"Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=(\w+)")


def is_valid(environ: dict[str, Any], secret: str, token: str) -> bool:
    """`token` is that of a session, or empty."""
    path, _, query = environ["REQUEST_URI"].partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    found = _HEADER.search(environ.get("HTTP_AUTHORIZATION", ""))
    told = dict(pairs)
    if found:
        scope, names, signature = found.groups()
        date, sent = _header(environ, "x-amz-date"), _header(environ, "x-amz-security-token")
        digest = _header(environ, "x-amz-content-sha256") or _digest(environ)
    elif "X-Amz-Signature" in told:
        scope, names, signature = told["X-Amz-Credential"], told["X-Amz-SignedHeaders"], told["X-Amz-Signature"]
        date, sent, digest = told["X-Amz-Date"], told.get("X-Amz-Security-Token", ""), "UNSIGNED-PAYLOAD"
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    else:
        return False
    if sent != token:
        return False
    place = scope.split("/", 1)[1]
    lines = [f"{name}:{' '.join(_header(environ, name).split())}\n" for name in names.split(";")]
    coded = "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs))
    # Every service but S3 codes a path twice; those that are called here have none.
    asked = "\n".join(
        [environ["REQUEST_METHOD"], quote(unquote(path), safe="/-_.~"), coded, "".join(lines), names, digest]
    )
    text = "\n".join(["AWS4-HMAC-SHA256", date, place, hashlib.sha256(asked.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in [*place.split("/"), text]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(key.hex(), signature)


def _header(environ: dict[str, Any], name: str) -> str:
    plain = name.upper().replace("-", "_")
    return str(environ.get(plain if plain in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{plain}", ""))


def _digest(environ: dict[str, Any]) -> str:
    body = environ["wsgi.input"].read()
    environ["wsgi.input"].seek(0)
    return hashlib.sha256(body).hexdigest()
