"""Requests to AWS as actions with parameters, whatever protocol they came in, and errors in the protocol's own form."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from cloud_events import Call

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]*)/([^/]*)/aws4_request")
_STATUS = {
    "AccessDenied": 403, "AuthFailure": 401, "ExpiredToken": 403, "InsufficientInstanceCapacity": 500,
    "InternalError": 500, "InvalidAccessKeyId": 403, "InvalidClientTokenId": 403, "NoSuchBucket": 404,
    "RequestLimitExceeded": 503, "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403, "SlowDown": 503,
    "Unavailable": 503, "UnauthorizedOperation": 403,
}  # fmt: skip


@dataclass
class Response:
    """A whole answer."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status.split()[0])


def read(environ: dict[str, Any]) -> tuple[Call, str]:
    """The call in a request, still without its account, and the access key that signed it, if any did."""
    body = _read_body(environ)
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    signed = environ.get("HTTP_AUTHORIZATION", "") or f"Credential={query.get('X-Amz-Credential', '')}"
    found = _CREDENTIAL.search(signed)
    key, region, service = found.groups() if found else ("", "", "")
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    service = service or ("" if target or form else "s3")  # what names no action can only be a call for an object
    if service == "s3" or not (target or form):
        action, parameters = _object_call(environ, query)
    elif target:
        action, parameters = target.rpartition(".")[2], json.loads(body or b"{}")
    else:
        parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
        action = parameters.pop("Action", "")
        parameters.pop("Version", None)
    return Call(service, action, parameters, "", region), key


def _read_body(environ: dict[str, Any]) -> bytes:
    """The body, left in the request for the next who reads it."""
    length = environ.get("CONTENT_LENGTH")
    if environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read()
        environ["CONTENT_LENGTH"] = str(len(body))
    else:
        body = environ["wsgi.input"].read(int(length or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return bytes(body)


_SUBRESOURCES = {
    "uploads": {"POST": "CreateMultipartUpload", "GET": "ListMultipartUploads"},
    "uploadId": {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload",
                 "GET": "ListParts"},
    "delete": {"POST": "DeleteObjects"},
    "lifecycle": {"GET": "GetBucketLifecycleConfiguration", "PUT": "PutBucketLifecycleConfiguration"},
    "location": {"GET": "GetBucketLocation"},
    "versioning": {"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"},
    "encryption": {"GET": "GetBucketEncryption", "PUT": "PutBucketEncryption"},
    "publicAccessBlock": {"GET": "GetPublicAccessBlock", "PUT": "PutPublicAccessBlock"},
    "tagging": {"GET": "GetBucketTagging", "PUT": "PutBucketTagging"},
    "policy": {"GET": "GetBucketPolicy", "PUT": "PutBucketPolicy"},
    "versions": {"GET": "ListObjectVersions"},
    "list-type": {"GET": "ListObjectsV2"},
}  # fmt: skip
_PLAIN = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
_BUCKET = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}


def _object_call(environ: dict[str, Any], query: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """The action of a call whose protocol names none."""
    bucket, _, key = environ.get("PATH_INFO", "/").lstrip("/").partition("/")
    method = environ["REQUEST_METHOD"]
    owner = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER") or query.get("x-amz-expected-bucket-owner", "")
    said = {"Bucket": bucket, "Key": key, "ExpectedBucketOwner": owner}
    named = {name: value for name, value in said.items() if value}
    for word, actions in _SUBRESOURCES.items():
        if word in query and method in actions:
            return actions[method], {**named, **query}
    if not bucket:
        return "ListBuckets", query
    copied = method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ
    return "CopyObject" if copied else (_PLAIN if key else _BUCKET).get(method, method), {**named, **query}


def failure(call: Call, code: str, message: str, status: int = 0) -> Response:
    """An error as the service of this call puts it."""
    number = status or _STATUS.get(code, 400)
    message = escape(message)
    kind = "text/xml"
    if call.service == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        text += "<RequestID>a-fault</RequestID></Response>"
    elif call.service == "s3":
        text = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>a-fault</RequestId></Error>"
    elif call.service in ("iam", "sts"):
        text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        text += "<RequestId>a-fault</RequestId></ErrorResponse>"
    else:
        kind = "application/x-amz-json-1.1"
        text = json.dumps({"__type": code, "message": message})
    return Response(f"{number} {code}", [("Content-Type", kind)], text.encode())


def error_code(response: Response) -> str:
    """The error that an answer tells of."""
    if response.code < 400:
        return ""
    text = response.body.decode(errors="replace")
    found = re.search(r"<Code>([^<]+)</Code>", text) or re.search(r'"__type": *"([^"]+)"', text)
    return found.group(1).rpartition("#")[2] if found else response.status
