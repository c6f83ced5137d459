"""moto behind what it lacks: refused keys, faults, tokens, machines, and a record of every call."""

from __future__ import annotations

import base64
import socket
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any

import aws_inbound
import aws_moto
from aws_accounts import Accounts
from aws_calls import Response, error_code, failure, read
from aws_instances import Instances
from aws_quotas import Quotas
from aws_spot import Market, close_requests
from aws_tokens import Tokens
from cloud_events import Call, Events
from cloud_faults import Fault, Faults
from cloud_inbound import Inbound
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends

Start = Callable[[str, list[tuple[str, str]]], object]


class App:
    """A WSGI application that answers as AWS."""

    def __init__(self, state: threading.RLock, accounts: Accounts, instances: Instances, inbound: Inbound) -> None:
        self._state = state
        self._accounts = accounts
        self._instances = instances
        self._inbound = inbound
        self.events = Events()
        self.faults = Faults()
        self.market = Market()
        self.quotas = Quotas()
        self._tokens = Tokens()
        self._moto = DomainDispatcherApplication(create_backend_app)
        aws_moto.mend(instances, self.market)

    def __call__(self, environ: dict[str, Any], start: Start, machine: bool = False) -> Iterable[bytes]:
        call, key = read(environ)
        call.machine = machine
        with self._state:
            refused = self._accounts.admit(call, key, environ)
        self.events.add(call)
        response = refused or self._meet(call, environ)
        call.status, call.error = response.code, error_code(response)
        start(response.status, response.headers)
        return [response.body]

    def _meet(self, call: Call, environ: dict[str, Any]) -> Response:
        """The answer to a call, after whatever fault meets it."""
        fault = self.faults.take(call)
        if fault is None:
            return self._perform(call, environ, 0)
        call.fault = fault.kind
        if fault.delay:
            fault.lifted.wait(fault.delay)
        if fault.hold == "before":
            fault.lifted.wait()
        if fault.code and not fault.effect:
            return _error(call, fault)
        if fault.body:
            return Response("200 OK", [("Content-Type", "application/x-amz-json-1.1")], fault.body.encode())
        response = self._perform(call, environ, fault.hidden)
        if fault.hold == "after":
            fault.lifted.wait()
        if fault.lost:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return _error(call, fault) if fault.code else response

    def _perform(self, call: Call, environ: dict[str, Any], hidden: int) -> Response:
        # One call at a time: moto's own conditional writes want it, and then states never change under an answer.
        with self._state:
            if known := self._tokens.find(call):
                return known
            if call.action == "ListServiceQuotas":
                return self.quotas.answer(call)
            if call.service == "s3" and _is_others(call):
                return failure(call, "AccessDenied", "Access Denied")
            if call.service != "ec2":
                return self._ask(call, environ)
            asks = call.action.startswith("Describe")
            known_before = set(self._instances.records)
            with self._instances.seen(call.account, call.region, asks), aws_moto.during(call):
                response = self._console(call) if call.action == "GetConsoleOutput" else self._ask(call, environ)
            self._follow(call, response)
            for name in set(self._instances.records) - known_before:
                self._instances.records[name].hidden = hidden
            self._tokens.keep(call, response)
            return response

    def _follow(self, call: Call, response: Response) -> None:
        self._instances.follow(call.account, call.region)
        if call.action in aws_inbound.ACTIONS:
            aws_inbound.follow(self._inbound, self._instances, call.account, call.region)
        close_requests(self._instances, call.account, ec2_backends[call.account][call.region])
        if call.action == "RebootInstances" and response.code < 400:
            for name in [value for key, value in call.parameters.items() if key.startswith("InstanceId.")]:
                threading.Thread(target=self._instances.reboot, args=(name,), daemon=True).start()

    def _console(self, call: Call) -> Response:
        """What the machine has really said; moto has one text for all."""
        name = call.parameters.get("InstanceId", "")
        record = self._instances.records.get(name)
        if record is None or record.account != call.account:
            return failure(call, "InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")
        said = base64.b64encode(self._instances.console(name).encode()[-65536:]).decode()
        text = f"<instanceId>{name}</instanceId><timestamp>{utcnow().isoformat()}Z</timestamp><output>{said}</output>"
        text = f"<GetConsoleOutputResponse>{text}</GetConsoleOutputResponse>"
        return Response("200 OK", [("Content-Type", "text/xml")], text.encode())

    def _ask(self, call: Call, environ: dict[str, Any]) -> Response:
        told: list[Any] = []
        try:
            body = b"".join(self._moto(environ, lambda *words: told.extend(words[:2])))
        except Exception:
            return failure(call, "InternalFailure", f"the emulator cannot do this: {traceback.format_exc()}", 500)
        return Response(told[0], list(told[1]), body)


def _is_others(call: Call) -> bool:
    """Whether its bucket belongs to another account than the call says. moto does not look."""
    expected = call.parameters.get("ExpectedBucketOwner")
    owner = s3_backends.bucket_accounts.get(call.parameters.get("Bucket", ""))
    return bool(expected and owner and owner[1] != expected)


def _error(call: Call, fault: Fault) -> Response:
    return failure(call, fault.code, fault.message, fault.status)
