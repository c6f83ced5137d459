"""Calls of a service of AWS: again while it is busy or does not answer, and errors for people.

The SDK's own way to try again hides from us that it did, so that a conditional write whose answer was lost looks like
one that somebody else won; and it gives up on answers (409, 429) and failures (a body that breaks off) that pass.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Container
from functools import partial
from typing import Any, Final, TypeVar

from dstack_aws.account import Account
from dstack_aws.failures import ELSEWHERE, Answer, Refused, explain, explain_region
from dstack_core.errors import DstackError, StoreError

T = TypeVar("T")

FIRST: Final = 3.0
"""Seconds of patience with a server that has never answered: most likely its address is wrong."""
AGAIN: Final = 10.0
"""Seconds after which such a server is asked again: who can do without it is not held up at each question."""
SHORTEST: Final = 0.05
LONGEST: Final = 5.0
"""Seconds between two tries, at most."""
BUSY: Final = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException",
     "TooManyRequests", "RequestThrottled", "RequestThrottledException", "BandwidthLimitExceeded"}
)  # fmt: skip
PASSING: Final = frozenset(
    {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "RequestTimeoutException", "InternalError",
     "InternalServiceError", "InternalFailure", "ServiceUnavailable", "BadDigest", "XAmzContentSHA256Mismatch",
     "IncompleteBody"}
)  # fmt: skip
PASSING_STATUS: Final = frozenset({429, 500, 502, 503, 504})
PASSING_KINDS: Final = frozenset(
    {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "ConnectionClosedError",
     "ConnectionError", "ReadTimeoutError", "IncompleteReadError", "ResponseStreamingError", "HTTPClientError",
     "ResponseParserError"}
)  # fmt: skip


class Spoiled(Exception):
    """What came is not what was stored: to be fetched again."""


class Pace:
    """How long all threads wait before a request, after the server said that it has too many."""

    def __init__(self) -> None:
        self._pause = 0.0

    def wait(self) -> None:
        """Nothing while all is well."""
        if self._pause:
            time.sleep(random.uniform(0, self._pause))  # noqa: S311

    def slower(self) -> None:
        """The server is busy."""
        self._pause = min(max(2 * self._pause, SHORTEST / 4), LONGEST / 10)

    def faster(self) -> None:
        """It was not."""
        if self._pause:
            self._pause = self._pause * 0.8 if self._pause > SHORTEST / 8 else 0.0


class Calls:
    """Calls one service. For several threads. `succeeded`: something has.

    Args:
        make: makes the SDK's client; called once, when something is called for the first time.
        where: the place, for errors.
    """

    def __init__(self, account: Account, make: Callable[[], Any], where: str, patience: float) -> None:
        self._account = account
        self._make = make
        self._where = where
        self._patience = patience
        self._client: Any = None
        self._lock = threading.Lock()
        self._pace = Pace()
        self._answered = False
        self._gave_up: tuple[float, StoreError] | None = None
        self.succeeded = False

    def call(self, act: str, work: Callable[[Any], T], tolerated: Container[str] = ()) -> T:
        """What `work` makes of the client.

        Args:
            act: what it does, as in "cannot read KEY".
            tolerated: error codes, or statuses as text, that the caller wants to see.

        Raises:
            Refused: the service answered with one of them.
            StoreError: with another one, or not at all; not before patience is at its end if it may pass.
        """
        tries, since = 0, time.monotonic()
        if self._gave_up and not self._answered and since - self._gave_up[0] < AGAIN:
            raise self._gave_up[1]
        while True:
            try:
                self._pace.wait()
                done = work(self._opened())
                self._answered = self.succeeded = True
                self._pace.faster()
                return done
            except DstackError:
                raise
            except Exception as error:
                failure = self._failure(error, tolerated, act)
                patience = self._patience if self._answered else min(self._patience, FIRST)
                if isinstance(failure, Refused) or not _passes(error) or time.monotonic() - since > patience:
                    if isinstance(failure, StoreError) and not self._answered:
                        self._gave_up = (time.monotonic(), failure)
                    raise failure from None
            pause = random.uniform(0.5, 1) * min(SHORTEST * 2**tries, LONGEST)  # noqa: S311
            tries = min(tries + 1, 20)
            time.sleep(pause)

    def _failure(self, error: Exception, tolerated: Container[str], act: str) -> Exception:
        """What to raise unless it passes. Anything that is not the SDK's is a mistake of ours, and raised at once."""
        if isinstance(error, Spoiled):
            return StoreError(f"cannot {act}: {error}", where=self._where, hint="try again; look at your network")
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            answer = Answer.of(response)
            self._answered = True
            if _is_busy(answer):
                self._pace.slower()
            if answer.code in tolerated or str(answer.status) in tolerated:
                return Refused(answer)
        elif not type(error).__module__.startswith("botocore."):
            raise error
        return explain(error, act, self._account, self._where)

    def _opened(self) -> Any:
        with self._lock:
            if self._client is None:
                client = self._make()
                # Ours comes before the SDK's, which would follow a bucket to its region: each command anew, and
                # unseen by who pays for the traffic.
                client.meta.events.register_first("needs-retry.s3", partial(self._stay, client.meta.region_name))
                self._client = client
            return self._client

    def _stay(self, region: str, response: Any, operation: Any, **_: Any) -> None:
        if response is None or response[0].status_code < 300:
            return
        answer = Answer.of(response[1])
        # An answer to HEAD has no more than the status for a code.
        if answer.region not in ("", region) and answer.code in (*ELSEWHERE, "301", "400"):
            raise explain_region(answer, f"use the bucket ({operation.name})", self._account, self._where)


def _is_busy(answer: Answer) -> bool:
    return answer.code in BUSY or answer.status in (429, 503)


def _passes(error: Exception) -> bool:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        answer = Answer.of(response)
        return _is_busy(answer) or answer.code in PASSING or answer.status in PASSING_STATUS
    return isinstance(error, Spoiled) or type(error).__name__ in PASSING_KINDS
