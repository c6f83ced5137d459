"""RunInstances is idempotent by its client token, as it is on AWS; moto launches again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from aws_calls import Response, failure
from cloud_events import Call


@dataclass
class Tokens:
    """What was answered to which token. Not locked: whoever asks holds the lock of the whole state."""

    _known: dict[tuple[str, str, str], tuple[str, Response]] = field(default_factory=dict)

    def find(self, call: Call) -> Response | None:
        """The answer that a call got before, or the error that its parameters were other ones."""
        known = self._known.get(_key(call))
        if known is None:
            return None
        if known[0] == _digest(call):
            return known[1]
        return failure(call, "IdempotentParameterMismatch", "The client token was used with other parameters.")

    def keep(self, call: Call, response: Response) -> None:
        if call.action == "RunInstances" and "ClientToken" in call.parameters and response.code < 400:
            self._known[_key(call)] = (_digest(call), response)


def _key(call: Call) -> tuple[str, str, str]:
    token = call.parameters.get("ClientToken", "") if call.action == "RunInstances" else ""
    return (call.account, call.region, token)


def _digest(call: Call) -> str:
    return hashlib.sha256(json.dumps(call.parameters, sort_keys=True).encode()).hexdigest()
