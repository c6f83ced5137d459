"""Accounts of the emulated AWS, and who signs with which key.

moto knows the account of a call by its access key, so that tests with an account each do not see each other. A key
that nobody was given, a wrong signature or an expired token are refused, as AWS would; moto takes anything.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import aws_moto
from aws_calls import Response, failure
from aws_signature import is_valid
from cloud_events import Call
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.ssm.models import ssm_backends
from moto.sts.models import sts_backends

USER = "tester"
_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_REFUSED = {
    # service: unknown key, wrong signature, expired token
    "ec2": ("AuthFailure", "AuthFailure", "RequestExpired"),
    "s3": ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"),
    "iam": ("InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"),
    "sts": ("InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"),
    "": ("UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"),
}


@dataclass
class Settings:
    """How machines of an account are booted."""

    environment: dict[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    clock: str = ""


@dataclass(frozen=True)
class Disk:
    """What an image has on it, beyond the plain one."""

    docker: bool = True
    images: tuple[str, ...] = ()
    nvidia: bool = False


@dataclass(frozen=True)
class Identity:
    """Who has an access key."""

    account: str
    arn: str
    secret: str
    token: str = ""
    expired: bool = False


class Accounts:
    """All accounts. Whoever calls holds the lock of the whole state."""

    def __init__(self, environment: dict[str, str], ports: list[int]) -> None:
        self._environment = environment
        self._ports = ports
        self.settings: dict[str, Settings] = {}
        self.disks: dict[str, Disk] = {}
        self._open: set[str] = set()
        self._expired: set[str] = set()

    def create(self, region: str) -> dict[str, str]:
        """A new account with a user who may do anything, and an image that machines can start from."""
        account = str(random.randint(10**11, 10**12 - 1))
        self.settings[account] = Settings(dict(self._environment), list(self._ports))
        self._open.add(account)
        iam = iam_backends[account]["aws"]
        iam.create_user(region_name=region, user_name=USER)
        iam.put_user_policy(USER, "all", json.dumps(_ALL))
        return {"account": account, "region": region, **self.key(account), "image": self.image(account, region)}

    def close(self, account: str) -> None:
        """From now on nobody has a key of it, and all but its instances is forgotten."""
        self._open.discard(account)
        aws_moto.forget(account)

    def key(self, account: str, user: str = USER) -> dict[str, str]:
        """An access key for a user."""
        made = iam_backends[account]["aws"].create_access_key(user)
        return {"key": made.access_key_id, "secret": made.secret_access_key}

    def expire(self, key: str) -> None:
        """From now on this key is one whose token has run out."""
        self._expired.add(key)

    def image(self, account: str, region: str, name: str = "box", docker: bool = True, images: tuple[str, ...] = (),
              parameter: str = "", architecture: str = "x86_64", nvidia: bool = False) -> str:  # fmt: skip
        """An image; `parameter` is the name of a public parameter that has its id."""
        backend = ec2_backends[account][region]
        made = backend.register_image(name)
        made.architecture, made.root_device_type, made.virtualization_type = architecture, "ebs", "hvm"
        self.disks[made.id] = Disk(docker, tuple(images), nvidia)
        if parameter:
            _publish(account, region, parameter, made.id)
        return str(made.id)

    def identify(self, key: str) -> Identity | None:
        """Whose a key is."""
        for account in self._open:
            found = iam_backends[account]["aws"].access_keys.get(key)
            if found is None:
                continue
            role = sts_backends[account]["aws"].get_assumed_role_from_access_key(key)
            if role is None:
                arn = f"arn:aws:iam::{account}:user/{found.user_name}"
                return Identity(account, arn, found.secret_access_key, expired=key in self._expired)
            expired = key in self._expired or role.expiration < utcnow()
            return Identity(account, role.arn, role.secret_access_key, role.session_token, expired)
        return None

    def admit(self, call: Call, key: str, environ: dict[str, Any]) -> Response | None:
        """Fill in whose call it is; or the error for one that may not call at all."""
        unknown, forged, old = _REFUSED.get(call.service, _REFUSED[""])
        who = self.identify(key)
        if who is None:
            return failure(call, unknown, "AWS was not able to validate the provided access credentials")
        call.account, call.caller = who.account, who.arn
        if not is_valid(environ, who.secret, who.token):
            return failure(call, forged, "AWS was not able to validate the provided access credentials")
        if who.expired:
            return failure(call, old, "The security token included in the request is expired")
        return None


def _publish(account: str, region: str, name: str, value: str) -> None:
    """A parameter as AWS has them for its images, which nobody else may write."""
    from moto.ssm.models import Parameter

    known = ssm_backends[account][region]._parameters
    made: Any = Parameter  # which moto's types take for abstract
    known[name] = [made(account, name, value, "String", "", None, None, utcnow(), 1, "text", [])]
