"""What an instance is told at the metadata address: version 2 of AWS's service, with its tokens and its hop limit."""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from aws_accounts import Accounts
from aws_instances import Instances, Record
from cloud_metadata import Answer, Request
from moto.core.utils import utcnow
from moto.sts.models import sts_backends

_TTL = "X-aws-ec2-metadata-token-ttl-seconds"
_TOKEN = "X-aws-ec2-metadata-token"
_DAY = 6 * 3600
Value = str | bytes | Callable[[], str | None] | None


class InstanceMetadata:
    """Answers for all instances."""

    def __init__(self, state: threading.RLock, instances: Instances, accounts: Accounts) -> None:
        self._state = state
        self._instances = instances
        self._accounts = accounts
        self._tokens: dict[str, tuple[str, float]] = {}
        self._credentials: dict[tuple[str, str], Any] = {}

    def boot(self, machine: str) -> dict[str, Any]:
        """How a machine is to start; the cloud-init of the tests asks for it."""
        with self._state:
            record = self._instances.records[machine]
            settings = self._accounts.settings[record.account]
            disk = self._accounts.disks[record.instance.image_id]
            data = record.instance.user_data
            region = record.instance.region_name
            return {
                "user_data": str(data) if data else "",
                "environment": settings.environment,
                "ports": settings.ports,
                "clock": settings.clock,
                "docker": disk.docker,
                "nvidia": disk.nvidia,
                "images": list(disk.images),
                "region": region,
            }

    def answer(self, request: Request) -> Answer:
        with self._state:
            record = self._instances.records[request.machine]
            options = record.instance.metadata_options
            if options.http_endpoint == "disabled":
                return Answer(403)
            if request.path == "/latest/api/token":
                return self._make_token(request, int(options.http_put_response_hop_limit))
            if request.method not in ("GET", "HEAD"):
                return Answer(405)
            token = request.headers.get(_TOKEN)
            if not self._is_good(request.machine, token) and (token or options.http_tokens == "required"):
                return Answer(401)
            return self._look_up(request.path, record)

    def _make_token(self, request: Request, hops: int) -> Answer:
        seconds = request.headers.get(_TTL) or ""
        if request.method != "PUT":
            return Answer(405, hops=hops)
        if request.headers.get("X-Forwarded-For"):
            return Answer(403, hops=hops)
        if not seconds.isdigit() or not 1 <= int(seconds) <= _DAY:
            return Answer(400, hops=hops)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = (request.machine, time.monotonic() + int(seconds))
        return Answer(body=token, headers={_TTL: seconds}, hops=hops)

    def _is_good(self, machine: str, token: str | None) -> bool:
        owner, until = self._tokens.get(token or "", ("", 0.0))
        return owner == machine and time.monotonic() < until

    def _look_up(self, path: str, record: Record) -> Answer:
        tree = self._tree(record)
        wanted = path.partition("?")[0].strip("/")
        if wanted in tree:
            value = tree[wanted]
            text = value() if callable(value) else value
            return Answer(404) if text is None else Answer(body=text)
        below = [name[len(wanted) + 1 :] for name, value in tree.items() if name.startswith(f"{wanted}/") and value]
        names = {name if "/" not in name else name.partition("/")[0] + "/" for name in below}
        return Answer(body="\n".join(sorted(names))) if names else Answer(404)

    def _tree(self, record: Record) -> dict[str, Value]:
        """Every path that there is; with no value, it is not found."""
        instance = record.instance
        meta: dict[str, Value] = {
            "ami-id": instance.image_id,
            "hostname": instance.private_dns_name,
            "instance-id": record.id,
            "instance-life-cycle": instance.lifecycle or "on-demand",
            "instance-type": instance.instance_type,
            "local-hostname": instance.private_dns_name,
            "local-ipv4": instance.private_ip,
            "public-ipv4": instance.public_ip,
            "mac": instance.nics[0].mac_address,
            "placement/availability-zone": instance.availability_zone,
            "placement/region": instance.region_name,
            "services/domain": "amazonaws.com",
            "services/partition": "aws",
            "security-groups": "\n".join(group.name for group in instance.security_groups),
            **_notice(record),
            **self._role(record),
        }
        if instance.metadata_options.instance_metadata_tags == "enabled":
            meta |= {f"tags/instance/{tag['key']}": tag["value"] for tag in instance.get_tags()}
        return {
            **{f"latest/meta-data/{name}": value for name, value in meta.items()},
            "latest/user-data": base64.b64decode(str(instance.user_data)) if instance.user_data else None,
            "latest/dynamic/instance-identity/document": lambda: json.dumps(_identity(instance), indent=2),
        }

    def _role(self, record: Record) -> dict[str, Value]:
        """Credentials of the role in the instance's profile."""
        backend = record.instance.ec2_backend
        association = backend.iam_instance_profile_associations.get(record.id)
        if association is None or not association.iam_instance_profile.roles:
            return {}
        profile = association.iam_instance_profile
        role = profile.roles[0]
        told = {"Code": "Success", "InstanceProfileArn": profile.arn, "InstanceProfileId": profile.id}
        return {
            "iam/info": json.dumps(told),
            f"iam/security-credentials/{role.name}": lambda: self._assume(record, role.arn),
        }

    def _assume(self, record: Record, arn: str) -> str:
        """The same credentials until they are about to end."""
        known = self._credentials.get((record.id, arn))
        if known is None or known.expiration - utcnow() < datetime.timedelta(minutes=5):
            backend = sts_backends[record.account]["aws"]
            known = backend.assume_role(record.instance.region_name, record.id, arn, "", _DAY, "")
            self._credentials[record.id, arn] = known
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": _time(utcnow()),
                "Type": "AWS-HMAC",
                "AccessKeyId": known.access_key_id,
                "SecretAccessKey": known.secret_access_key,
                "Token": known.session_token,
                "Expiration": _time(known.expiration),
            }
        )


def _notice(record: Record) -> dict[str, Value]:
    """The word that a spot instance will be taken, from when it is known."""
    if not record.notice:
        return {}
    when = _time(datetime.datetime.fromtimestamp(record.notice, datetime.timezone.utc))
    action = json.dumps({"action": "terminate", "time": when})
    return {"spot/instance-action": action, "spot/termination-time": when}


def _identity(instance: Any) -> dict[str, Any]:
    return {
        "accountId": instance.owner_id,
        "architecture": "x86_64",
        "availabilityZone": instance.availability_zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "pendingTime": _time(instance.launch_time),
        "privateIp": instance.private_ip,
        "region": instance.region_name,
        "version": "2017-09-30",
    }


def _time(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
